"""Setting up, trying out and running Homeplate; not part of the agent."""

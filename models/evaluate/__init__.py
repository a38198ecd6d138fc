"""Measure both networks along the agent's own road, and say it in JSON and one HTML page.

Needs neither torch nor any package that the agent itself does not need.
"""

"""Lets `python -m agent` stand for the command `homeplate`."""

import sys

from agent.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Lets `python -m homeplate_endpoint` stand for the command `homeplate-endpoint`."""

import sys

from homeplate_endpoint.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""Where the models' manifest lies: no network is loaded for this."""

import sys
from pathlib import Path

from agent.base.errors import ConfigError

MANIFEST_NAME = "manifest.toml"
MANIFEST_LIMIT_BYTES = 65_536
BESIDE_PACKAGE = Path(__file__).resolve().parents[2] / "models"
"""Where a working copy has them."""
INSTALLED = Path(sys.prefix) / "share" / "homeplate" / "models"
"""Where the wheel puts them."""


def find_folder(directory: str) -> Path:
    """Return the folder of the manifest: the one asked for, or the one that came with the agent.

    Raises:
        ConfigError: The agent came without models.
    """
    if directory:
        return Path(directory)
    for folder in (BESIDE_PACKAGE, INSTALLED):
        if (folder / MANIFEST_NAME).is_file():
            return folder
    message = f"{BESIDE_PACKAGE}: no {MANIFEST_NAME} here or in {INSTALLED}; install the models"
    raise ConfigError(message)

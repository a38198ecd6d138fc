"""The last heartbeat of each unit: one small file, replaced with each beat."""

from pathlib import Path
from typing import Final

import msgspec

from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, DeviceError
from agent.base.files import read_bounded, replace_unsynced
from agent.trust.heartbeat import HEARTBEAT_LIMIT_BYTES, Heartbeat

HEARTBEATS: Final = "heartbeats"
"""Beside the register of units."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat and when it came, by the endpoint's clock."""

    received_ms: int
    beat: Heartbeat


class Heartbeats:
    """Keeps the last beat of each unit.

    Args:
        folder: One file a unit; is made when it is missing.
        clock: The endpoint's.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock

    def keep(self, unit: str, beat: Heartbeat) -> None:
        """Replace the unit's last beat.

        Raises:
            DeviceError: The disk refuses.
        """
        kept = Kept(received_ms=to_ms(self._clock.now()), beat=beat)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            replace_unsynced(self._folder / f"{unit}.json", msgspec.json.encode(kept))
        except OSError as error:
            message = f"{self._folder}: cannot be written ({error.strerror}); check the disk"
            raise DeviceError(message) from error


def read_heartbeats(folder: Path) -> dict[str, Kept]:
    """Return the last beat of each unit, by its name.

    Raises:
        ConfigError: A file cannot be read or is no heartbeat of this version.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        content = read_bounded(path, limit_bytes=2 * HEARTBEAT_LIMIT_BYTES)
        try:
            found[path.stem] = msgspec.json.decode(content, type=Kept)
        except (msgspec.MsgspecError, ValueError) as error:
            message = f"{path}: {error}; remove it, the unit's next heartbeat replaces it"
            raise ConfigError(message) from error
    return found

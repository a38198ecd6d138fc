"""The city's opening keys, one a period, and the record of those that were destroyed.

```
<folder>/<period>.key      PEM private key, mode 0600: opens what was sealed in that period
<folder>/<period>.pub      its public half, DER: goes into the policy
<folder>/record.jsonl      one JSON object a line: at, action, period, key_id
```
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.base.errors import ConfigError, DeviceError
from agent.base.files import read_bounded, read_secret, sync_directory
from agent.trust.keys import Opener, encode_private_key, generate_opener, load_opener

PERIOD: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])(-[a-z0-9]{1,16})?")
"""A month; a second key within one has a further word: 2026-11-b."""
RECORD: Final = "record.jsonl"
_KEY_LIMIT_BYTES: Final = 16_384
_RECORD_LIMIT_BYTES: Final = 16_777_216
_KEY_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What is known of a period's key."""

    name: str
    key_id: str
    """16 hex digits, as in the frames' headers."""
    made_at: str
    destroyed_at: str = ""
    """Empty while the key is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """The keys at hand, and the periods whose keys are gone."""

    openers: dict[bytes, Opener] = field(repr=False)
    """By key id."""
    gone: dict[bytes, Period]
    """By key id."""

    def describe(self) -> str:
        """Return the key ids at hand, for messages."""
        return ", ".join(key_id.hex() for key_id in self.openers) or "none"


def load_ring(path: Path) -> KeyRing:
    """Return the key in a file, or all keys in a folder with its record.

    Raises:
        ConfigError: It is missing, or the record is not in its form.
        CredentialError: A file holds something else than a private key.
    """
    if not path.is_dir():
        opener = _load(path)
        return KeyRing(openers={opener.key_id: opener}, gone={})
    openers = [_load(file) for file in sorted(path.glob("*.key"))]
    periods = read_periods(path)
    gone = {bytes.fromhex(item.key_id): item for item in periods if item.destroyed_at}
    return KeyRing(openers={opener.key_id: opener for opener in openers}, gone=gone)


def read_periods(folder: Path) -> tuple[Period, ...]:
    """Return all periods in the order in which their keys were made.

    Raises:
        ConfigError: The record cannot be read or is not in its form.
    """
    path = folder / RECORD
    if not path.exists():
        return ()
    periods: dict[str, Period] = {}
    content = read_bounded(path, limit_bytes=_RECORD_LIMIT_BYTES)
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(line)
            name, key_id, at = (str(entry[name]) for name in ("period", "key_id", "at"))
            made_at = periods[name].made_at if entry["action"] == "destroyed" else at
            bytes.fromhex(key_id)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{path}: line {number} is no record of a key; restore the file"
            raise ConfigError(message) from error
        destroyed_at = at if entry["action"] == "destroyed" else ""
        periods[name] = Period(name=name, key_id=key_id, made_at=made_at, destroyed_at=destroyed_at)
    return tuple(periods.values())


def make_key(folder: Path, name: str, *, now: datetime) -> Period:
    """Draw a period's key, write both halves and enter it into the record.

    Raises:
        ConfigError: Not a period's name, or the period has or had a key.
        DeviceError: The disk refuses.
    """
    _require_name(name)
    if any(period.name == name for period in read_periods(folder)):
        message = f"{folder}: the period {name} has or had a key; expected a new name"
        raise ConfigError(message)
    opener = generate_opener()
    with _writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(folder / f"{name}.key", encode_private_key(opener), _KEY_MODE)
        _create(folder / f"{name}.pub", opener.public_spki, _PUBLIC_MODE)
        _record(folder, "made", name, opener.key_id.hex(), now)
    return Period(name=name, key_id=opener.key_id.hex(), made_at=_text(now))


def destroy_key(folder: Path, name: str, *, now: datetime) -> Period:
    """Overwrite and remove a period's private key; the record says when. The public half stays.

    Whoever has a copy still has it, and flash may keep old sectors: see threat-model.md.

    Raises:
        ConfigError: No such period, or its key is gone already.
        CredentialError: The file is not the key of the record.
        DeviceError: The disk refuses; the record says nothing then.
    """
    known = {period.name: period for period in read_periods(folder)}
    period = known.get(name)
    if period is None or period.destroyed_at:
        found = f"was destroyed at {period.destroyed_at}" if period else "is in no record"
        message = f"{folder}: the period {name} {found}; see `homeplate city keys list`"
        raise ConfigError(message)
    path = folder / f"{name}.key"
    with _writing(folder):
        if path.exists():  # else a power cut came between the removal and the record
            _overwrite(path)
            path.unlink()
        sync_directory(folder)
        _record(folder, "destroyed", name, period.key_id, now)
    return Period(name=name, key_id=period.key_id, made_at=period.made_at, destroyed_at=_text(now))


def _load(path: Path) -> Opener:
    return load_opener(read_secret(path, limit_bytes=_KEY_LIMIT_BYTES), place=str(path))


def _require_name(name: str) -> None:
    if PERIOD.fullmatch(name) is None:
        message = (
            f"period: found {name!r}; expected a month as in 2026-11; for one key more 2026-11-b"
        )
        raise ConfigError(message)


def _create(path: Path, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())


def _record(folder: Path, action: str, name: str, key_id: str, now: datetime) -> None:
    line = json.dumps({"at": _text(now), "action": action, "period": name, "key_id": key_id})
    with (folder / RECORD).open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(folder)


def _text(now: datetime) -> str:
    return now.isoformat(timespec="seconds")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{error.filename or folder}: the disk refuses ({error.strerror})"
        raise DeviceError(message) from error

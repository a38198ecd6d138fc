"""A unit's bundle: the folder that the city's office makes and a technician flashes.

```
bundle.json                            names the unit, the token's end, the SHA-256 of each file
unit.toml, policy.bundle, root.json    as the unit will have them in /etc/homeplate
enrol.token                            the one secret in it: admits one unit, once, for some days
user-data, network-config, meta-data   cloud-init: the unit's name and its network
flashed.json                           comes with the first flash: when, and where to
```
"""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError, CredentialError, IntegrityError
from agent.base.files import read_bounded, write_whole
from agent.trust.enrolment import TOKEN_BYTES, UnitName, Version

MANIFEST: Final = "bundle.json"
FLASHED: Final = "flashed.json"
TOKEN: Final = "enrol.token"  # noqa: S105 -- a file's name
SETTINGS: Final = "unit.toml"
POLICY: Final = "policy.bundle"
ROOT: Final = "root.json"
OWN_FILES: Final = (SETTINGS, POLICY, ROOT, TOKEN)
"""Go into the folder `homeplate` of the boot partition, the manifest with them."""
CLOUD_FILES: Final = ("user-data", "network-config", "meta-data")
"""Go where cloud-init looks for them: beside that folder."""
_FILE_LIMIT_BYTES: Final = 2_097_152

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file bundle.json."""

    version: Version = 1
    unit: UnitName
    city: Annotated[str, Meta(min_length=1, max_length=100)]
    made_at: Annotated[datetime, Meta(tz=True)]
    expires_at: Annotated[datetime, Meta(tz=True)]
    """End of the token."""
    files: dict[str, Sha256]


class Flashed(msgspec.Struct, frozen=True, kw_only=True):
    """The file flashed.json."""

    at: Annotated[datetime, Meta(tz=True)]
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle, read and held against its manifest."""

    folder: Path
    manifest: Manifest
    files: dict[str, bytes] = field(repr=False)
    """All of them by name, the manifest too."""


def draw_token() -> bytes:
    """Return a new one-time token."""
    return secrets.token_bytes(TOKEN_BYTES)


def encode_token(token: bytes) -> bytes:
    """Return the file enrol.token."""
    return urlsafe_b64encode(token) + b"\n"


def parse_token(content: bytes, *, place: str) -> bytes:
    """Return the token in the file enrol.token.

    Raises:
        CredentialError: There is none in it.
    """
    try:
        token = urlsafe_b64decode(content.strip())
    except ValueError:
        token = b""
    if len(token) != TOKEN_BYTES or encode_token(token) != content:
        message = f"{place}: no enrolment token ({len(content)} bytes); flash a new bundle"
        raise CredentialError(message)
    return token


def write_bundle(folder: Path, manifest: Manifest, files: dict[str, bytes]) -> None:
    """Write a bundle into a new folder; the manifest comes last and makes it one.

    Raises:
        ConfigError: The folder is there already, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        for name, content in files.items():
            write_whole(folder / name, content)
        content = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        write_whole(folder / MANIFEST, content)
    except FileExistsError as error:
        message = f"{folder}: there is something already; each bundle has a folder of its own"
        raise ConfigError(message) from error
    except OSError as error:
        message = f"{folder}: cannot be written ({error.strerror})"
        raise ConfigError(message) from error


def load_bundle(folder: Path, *, names: tuple[str, ...] = OWN_FILES + CLOUD_FILES) -> Bundle:
    """Return a bundle whose files are what the manifest names.

    Args:
        folder: Of the bundle, or the one on a unit's boot partition.
        names: Which files to read; a unit that is enrolled has no token any more.

    Raises:
        ConfigError: It is no bundle, or a file is missing.
        IntegrityError: A file is not the one that was made.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder; expected a bundle of `homeplate unit add`"
        raise ConfigError(message)
    content = read_bounded(folder / MANIFEST, limit_bytes=_FILE_LIMIT_BYTES)
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"{folder / MANIFEST}: {error}; expected a bundle of `homeplate unit add`"
        raise ConfigError(message) from error
    files = {name: _read_listed(folder / name, manifest) for name in names}
    return Bundle(folder=folder, manifest=manifest, files={**files, MANIFEST: content})


def require_usable(bundle: Bundle, *, now: datetime, again: bool) -> None:
    """Make sure that a bundle may be flashed now.

    Raises:
        ConfigError: Its token is over, or it was flashed before and `again` is not said.
    """
    ends = bundle.manifest.expires_at
    if now >= ends:
        message = f"{bundle.folder}: its token ended {ends:%Y-%m-%d %H:%M} UTC; make a new bundle"
        raise ConfigError(message)
    path = bundle.folder / FLASHED
    if again or not path.exists():
        return
    try:
        found = msgspec.json.decode(read_bounded(path, limit_bytes=4096), type=Flashed)
        told = f"{found.at:%Y-%m-%d %H:%M} UTC onto {found.target}"
    except (msgspec.MsgspecError, ValueError):
        told = "before"
    message = (
        f"{bundle.folder}: token used before: it was flashed {told}. A bundle is for one unit: "
        "make a new one, or say --again if that card never enrolled"
    )
    raise ConfigError(message)


def note_flashed(bundle: Bundle, target: str, *, now: datetime) -> None:
    """Write down that a bundle was flashed.

    Raises:
        ConfigError: Its folder cannot be written.
    """
    content = msgspec.json.encode(Flashed(at=now, target=target))
    try:
        write_whole(bundle.folder / FLASHED, content + b"\n")
    except OSError as error:
        message = f"{bundle.folder / FLASHED}: cannot be written ({error.strerror})"
        raise ConfigError(message) from error


def _read_listed(path: Path, manifest: Manifest) -> bytes:
    content = read_bounded(path, limit_bytes=_FILE_LIMIT_BYTES)
    if hashlib.sha256(content).hexdigest() != manifest.files.get(path.name):
        message = f"{path}: is not the file that the bundle was made with; make the bundle again"
        raise IntegrityError(message)
    return content

"""City side: what of an application's archives is signed."""

from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Final

from agent.base.errors import ConfigError
from agent.cli.update_archive import read_build
from agent.trust.release import ARCHIVE_LIMIT_BYTES, Archive, Release, encode_release, parse_release

NONE: Final = "none"


def release_of(names: Sequence[str]) -> bytes:
    """Return the file `application.json` that names archives, empty for `none`.

    Raises:
        ConfigError: An archive is missing, none, too large, or of another version than the first.
        PolicyError: Two are for one kind of machine.
    """
    if list(names) == [NONE]:
        return b""
    named = [_measure(Path(name)) for name in names]
    versions = sorted({version for version, _ in named})
    if len(versions) != 1:
        message = f"--application: archives of {', '.join(versions)}; expected one version"
        raise ConfigError(message)
    content = encode_release(Release(version=versions[0], archives=tuple(one for _, one in named)))
    parse_release(content, place="--application")
    return content


def _measure(path: Path) -> tuple[str, Archive]:
    try:
        build = read_build(path)
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        length = path.stat().st_size
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected an archive"
        raise ConfigError(message) from error
    if length > ARCHIVE_LIMIT_BYTES:
        message = f"{path}: {length} bytes; expected at most {ARCHIVE_LIMIT_BYTES}"
        raise ConfigError(message)
    archive = Archive(machine=build.machine, python=build.python, length=length, sha256=found)
    return build.version, archive

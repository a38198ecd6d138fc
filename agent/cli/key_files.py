"""Key files of people in offices: new ones, passphrases, and public halves that are named."""

import os
from getpass import getpass
from pathlib import Path
from typing import Final

from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.trust.signatures import PublicKey, load_public_file

KEY_LIMIT_BYTES: Final = 16_384
PASSPHRASE_MIN: Final = 10


def read_passphrase(file: Path | None, key: Path) -> str:
    """Return the passphrase of a key: the first line of a file, or what is typed.

    Raises:
        ConfigError: No file, no text in it, or no terminal.
    """
    if file is not None:
        return _read_first_line(file)
    return _ask(f"Passphrase of {key}: ")


def choose_passphrase(file: Path | None, key: Path) -> str:
    """Return the passphrase for a new key: the first line of a file, or what is typed twice.

    Raises:
        ConfigError: As `read_passphrase`; two different answers, or one that is too short.
    """
    passphrase = read_passphrase(file, key)
    if len(passphrase) < PASSPHRASE_MIN:
        message = f"the passphrase has {len(passphrase)} characters; expected {PASSPHRASE_MIN}"
        raise ConfigError(message)
    if file is None and _ask("The same once more: ") != passphrase:
        message = "the two passphrases differ; nothing was written"
        raise ConfigError(message)
    return passphrase


def read_named_keys(texts: list[str] | None, option: str) -> dict[str, PublicKey]:
    """Return names and public keys of NAME=FILE, each name and each key once.

    Raises:
        ConfigError: Not of this form, a file is missing, or two have one name or one key.
        CredentialError: A file holds something else than a public key.
    """
    found: dict[str, PublicKey] = {}
    for text in texts or ():
        name, key = read_named_key(text, option)
        twin = next((other for other, known in found.items() if known == key), "")
        if name in found or twin:
            what = f"{name} stands twice" if name in found else f"{twin} and {name} have one key"
            message = f"{option} {text}: {what}; expected another key for each name"
            raise ConfigError(message)
        found[name] = key
    return found


def read_named_key(text: str, option: str) -> tuple[str, PublicKey]:
    """Return name and public key of NAME=FILE.

    Raises:
        ConfigError: Not of this form, or the file is missing.
        CredentialError: The file holds something else than a public key.
    """
    name, separator, file = text.partition("=")
    if not separator or not name:
        message = f"{option} {text}: expected NAME=FILE"
        raise ConfigError(message)
    return name, read_public_key(Path(file))


def read_public_key(path: Path) -> PublicKey:
    """Return the public key in a file, DER or PEM.

    Raises:
        ConfigError: The file is missing.
        CredentialError: It holds something else.
    """
    return load_public_file(read_bounded(path, limit_bytes=KEY_LIMIT_BYTES), place=str(path))


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a new file; one that is there stays.

    Raises:
        ConfigError: It is there, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror}); expected a new file"
        raise ConfigError(message) from error


def require_new(*paths: Path) -> None:
    """Make sure that nothing lies in the way of new files.

    Raises:
        ConfigError: Something does.
    """
    for path in paths:
        if path.exists():
            message = f"{path}: exists already; name a new file"
            raise ConfigError(message)


def _read_first_line(file: Path) -> str:
    content = read_bounded(file, limit_bytes=KEY_LIMIT_BYTES)
    try:
        return content.decode().partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        message = f"{file}: byte {error.start} is not UTF-8; expected the passphrase as text"
        raise ConfigError(message) from error


def _ask(question: str) -> str:
    try:
        return getpass(question)
    except EOFError as error:
        message = "no terminal to ask for the passphrase; use --passphrase-file"
        raise ConfigError(message) from error

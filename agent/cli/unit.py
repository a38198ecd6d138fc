"""What the commands of a unit have in common: settings, policy, credentials, folders."""

import argparse
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from agent.base.clock import Clock
from agent.base.errors import ConfigError, CredentialError
from agent.base.files import read_bounded
from agent.base.settings import Settings, parse_settings
from agent.trust.keys import Signer, load_signer
from agent.trust.policy import (
    POLICY_LIMIT_BYTES,
    Policy,
    check_validity,
    parse_policy,
    policy_sha256,
)

DEFAULT_CONFIG = Path("/etc/homeplate/unit.toml")
SETTINGS_LIMIT_BYTES = 65_536
KEY_LIMIT_BYTES = 16_384
BOOT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit's settings and what the city decided for it."""

    settings: Settings
    policy: Policy
    policy_sha256: bytes
    boot: bytes = field(default_factory=lambda: secrets.token_bytes(BOOT_BYTES))
    """Names this start."""

    @property
    def spool(self) -> Path:
        """Folder of sealed frames."""
        return Path(self.settings.state_directory) / "spool"

    @property
    def watch_audit(self) -> Path:
        """Folder of the watcher's log."""
        return Path(self.settings.state_directory) / "audit" / "watch"

    @property
    def send_audit(self) -> Path:
        """Folder of the sender's log."""
        return Path(self.settings.state_directory) / "audit" / "send"

    def credential(self, name: str) -> Path:
        """Return the path of a credential file."""
        return Path(self.settings.credentials) / name

    def load_signer(self, name: str) -> Signer:
        """Return the signing key in a credential file.

        Raises:
            ConfigError: No such file.
            CredentialError: Something else is in it.
        """
        path = self.credential(name)
        return load_signer(read_bounded(path, limit_bytes=KEY_LIMIT_BYTES), place=str(path))


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument that all commands of a unit take."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the unit's settings ({DEFAULT_CONFIG})",
    )


def load_settings(path: Path) -> Settings:
    """Return the unit's settings.

    Raises:
        ConfigError: They are missing or wrong.
    """
    return parse_settings(read_bounded(path, limit_bytes=SETTINGS_LIMIT_BYTES), place=str(path))


def load_unit(path: Path) -> Unit:
    """Return the unit that the settings file describes.

    A policy that has expired is taken: what was collected under it is still to be sent and
    deleted. Collecting asks `require_valid` first.

    Raises:
        ConfigError: Settings or policy are missing or wrong.
    """
    settings = load_settings(path)
    if not Path(settings.state_directory).is_dir():
        message = f"{path}: $.state_directory: {settings.state_directory} is no folder; make it"
        raise ConfigError(message)
    place = Path(settings.policy)
    content = read_bounded(place, limit_bytes=POLICY_LIMIT_BYTES)
    policy = parse_policy(content, place=str(place))
    return Unit(settings=settings, policy=policy, policy_sha256=policy_sha256(content))


def require_own_certificate(unit: Unit) -> None:
    """Make sure that the client certificate is this unit's: the city takes frames of no other.

    Raises:
        ConfigError: There is no certificate.
        CredentialError: It is not one, or names another unit.
    """
    path = unit.credential("tls.crt")
    content = read_bounded(path, limit_bytes=KEY_LIMIT_BYTES)
    try:
        subject = x509.load_pem_x509_certificate(content).subject
    except ValueError as error:
        message = f"{path}: cannot be read; expected the unit's client certificate, PEM"
        raise CredentialError(message) from error
    names = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [unit.settings.unit]:
        message = (
            f"{path}: is the certificate of {', '.join(names) or 'nobody'}, the settings are those "
            f"of {unit.settings.unit}; expected one unit's settings and certificate"
        )
        raise CredentialError(message)


def require_valid(unit: Unit, *, clock: Clock) -> None:
    """Make sure that the city's policy allows to collect now.

    Raises:
        ConfigError: It has expired or is not valid yet.
    """
    check_validity(unit.policy, now=clock.now(), place=unit.settings.policy)


def stop_on_signal() -> Callable[[], bool]:
    """Return a question that is answered True once SIGTERM or SIGINT came."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked)

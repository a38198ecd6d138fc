"""What the commands of a unit have in common: settings, policy, credentials, folders."""

import argparse
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from agent.audit import read_policy_history
from agent.base.clock import Clock
from agent.base.errors import ConfigError, CredentialError
from agent.base.files import read_bounded, read_secret
from agent.base.settings import Settings, parse_settings
from agent.policy import BUNDLE_NAME, PolicyKeeper, PolicyPlaces
from agent.trust.bundle import Decision, require_current
from agent.trust.enrolment import read_certificate
from agent.trust.entries import PolicySeen
from agent.trust.keys import Signer, load_signer
from agent.trust.policy import Policy
from agent.trust.policy_history import NO_HISTORY, PolicyHistory

DEFAULT_CONFIG = Path("/etc/homeplate/unit.toml")
SETTINGS_LIMIT_BYTES = 65_536
KEY_LIMIT_BYTES = 16_384
BOOT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit's settings and what the city decided for it."""

    settings: Settings
    keeper: PolicyKeeper
    decision: Decision
    """What was in force when this was made."""
    history: PolicyHistory = NO_HISTORY
    """What the log of the process said at its start."""
    boot: bytes = field(default_factory=lambda: secrets.token_bytes(BOOT_BYTES))
    """Names this start."""

    def begun_anew(self) -> "Unit":
        """Return the same unit under the policy that is in force now, as a new start."""
        return replace(self, decision=self.keeper.decision, boot=secrets.token_bytes(BOOT_BYTES))

    @property
    def exchange(self) -> Path:
        """Folder on a tmpfs through which watcher and sender hand things to each other."""
        return Path(self.settings.exchange_directory)

    @property
    def policy(self) -> Policy:
        """What the city has decided."""
        return self.decision.policy

    @property
    def policy_sha256(self) -> bytes:
        """The policy's hash, as in frames and on the city's public page."""
        return self.decision.policy_hash

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

    @property
    def certificate(self) -> Path:
        """The client certificate: the one that was renewed last, else that of the enrolment."""
        renewed = renewed_certificate(self.settings)
        return renewed if renewed.exists() else self.credential("tls.crt")

    def load_signer(self, name: str) -> Signer:
        """Return the signing key in a credential file.

        Raises:
            ConfigError: No such file.
            CredentialError: Something else is in it.
        """
        path = self.credential(name)
        return load_signer(read_secret(path, limit_bytes=KEY_LIMIT_BYTES), place=str(path))


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument that all commands of a unit take."""
    parser.add_argument(
        "--config",
        type=Path,
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the unit's settings ({DEFAULT_CONFIG})",
    )


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Add the argument with which a service is given its own keys, and no others."""
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="FOLDER",
        help="keys and certificate, in place of the settings' `credentials` (systemd: %%d)",
    )


def load_settings(path: Path) -> Settings:
    """Return the unit's settings.

    Raises:
        ConfigError: They are missing or wrong.
    """
    return parse_settings(read_bounded(path, limit_bytes=SETTINGS_LIMIT_BYTES), place=str(path))


def load_unit(
    path: Path,
    process: str,
    *,
    models_sha256: bytes | None = None,
    credentials: Path | None = None,
) -> Unit:
    """Return the unit that the settings file describes.

    A policy that has expired is taken: what was collected under it is still to be sent and
    deleted. Collecting asks `require_valid` first.

    Args:
        path: Of the settings.
        process: `watch` or `send`: whose memory of the policy counts.
        models_sha256: Of the models' manifest at hand; None = the process uses none.
        credentials: Folder of the keys; None = as the settings say.

    Raises:
        ConfigError: Settings, root or policy are missing or wrong.
        PolicyError: The flashed policy does not verify.
        IntegrityError, DeviceError: The log of the process cannot be read.
    """
    settings = load_settings(path)
    if credentials is not None:
        settings = msgspec.structs.replace(settings, credentials=str(credentials))
    if not Path(settings.state_directory).is_dir():
        message = f"{path}: $.state_directory: {settings.state_directory} is no folder; make it"
        raise ConfigError(message)
    history = read_policy_history(Path(settings.state_directory) / "audit" / process)
    keeper = PolicyKeeper(
        policy_places(settings, process),
        unit=settings.unit,
        models_sha256=models_sha256,
        history=history,
    )
    return Unit(settings=settings, keeper=keeper, decision=keeper.decision, history=history)


def refresh_policy(unit: Unit, clock: Clock) -> tuple[Unit, tuple[PolicySeen, ...]]:
    """Return the unit under the newest policy at hand, and what the log is to say of it."""
    seen = unit.keeper.look(clock.now())
    return replace(unit, decision=unit.keeper.decision), seen


def policy_places(settings: Settings, process: str) -> PolicyPlaces:
    """Return where a process (`watch` or `send`) looks for policies and keeps the one in force."""
    return PolicyPlaces(
        root=Path(settings.root),
        flashed=Path(settings.policy),
        arriving=Path(settings.exchange_directory) / BUNDLE_NAME,
        memory=Path(settings.state_directory) / "policy" / process / "current.bundle",
    )


def renewed_certificate(settings: Settings) -> Path:
    """Return where the sender keeps a renewed certificate: it may write to its state alone."""
    return Path(settings.state_directory) / "identity" / "tls.crt"


def destruction_statement(settings: Settings) -> Path:
    """Return where the certificate of destruction of a retired unit is kept."""
    return renewed_certificate(settings).with_name("destruction.cbor")


def require_in_service(settings: Settings) -> None:
    """Make sure that the unit was not retired: it collects and sends nothing from then on.

    Raises:
        ConfigError: Its certificate of destruction is there, whether the city has it or not.
    """
    path = destruction_statement(settings)
    if path.exists():
        message = (
            f"{settings.unit}: is retired, as {path} says; end it with `homeplate retire`. To use "
            "the hardware again, give it a new name and an empty state folder"
        )
        raise ConfigError(message)


def require_own_certificate(unit: Unit) -> None:
    """Make sure that the client certificate is this unit's: the city takes frames of no other.

    Raises:
        ConfigError: There is no certificate.
        CredentialError: It is not one, or names another unit.
    """
    path = unit.certificate
    content = read_bounded(path, limit_bytes=KEY_LIMIT_BYTES)
    found = read_certificate(content, place=str(path))
    if found.unit != unit.settings.unit:
        message = (
            f"{path}: is the certificate of {found.unit or 'nobody'}, the settings are those of "
            f"{unit.settings.unit}; expected one unit's settings and certificate"
        )
        raise CredentialError(message)


def require_valid(unit: Unit, *, clock: Clock) -> None:
    """Make sure that the city's policy allows to collect now.

    Raises:
        PolicyError: It has expired or is not valid yet.
    """
    require_current(unit.decision, now=clock.now(), place="the policy in force")


def stop_on_signal() -> Callable[[], bool]:
    """Return a question that is answered True once SIGTERM or SIGINT came."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: asked.append(received))
    return lambda: bool(asked)

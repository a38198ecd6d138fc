"""What is checked: a unit's settings and what could be learnt of it before the first question."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.audit.files import ENTRIES, RecordFile
from agent.base.clock import Clock
from agent.base.errors import HomeplateError
from agent.base.files import read_bounded
from agent.base.health_file import Health, Service, health_path, read_health
from agent.base.settings import Settings
from agent.cli.machine import Machine
from agent.cli.unit import policy_places, renewed_certificate
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.entries import PolicySeen, Uploaded, decode_entry
from agent.trust.policy_history import NO_HISTORY, PolicyHistory, recount_policies
from agent.trust.receipts import peek_receipt
from agent.trust.roles import ROLE_LIMIT_BYTES

Failure = HomeplateError | OSError
"""Why something could not be learnt."""
Known = TypeVar("Known")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What the two logs of a unit say."""

    latest_ms: int = 0
    """Time of the newest entry; 0 without one."""
    receipt_ms: int = 0
    """The city's time in the newest receipt; 0 without one."""
    policies: PolicyHistory = NO_HISTORY
    """Of the watcher's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A unit, as far as its settings could be read."""

    place: Path
    """Of the settings."""
    settings: Settings
    decision: Decision | Failure
    """The policy in force for the watcher, or why there is none."""
    logs: LogFacts | Failure
    """What the logs say, or why they cannot be read."""
    machine: Machine
    clock: Clock

    @property
    def state(self) -> Path:
        """The state folder."""
        return Path(self.settings.state_directory)

    @property
    def exchange(self) -> Path:
        """The folder in memory."""
        return Path(self.settings.exchange_directory)

    @property
    def credentials(self) -> Path:
        """The folder of keys."""
        return Path(self.settings.credentials)

    @property
    def certificate(self) -> Path:
        """The client certificate in use: a renewed one counts."""
        renewed = renewed_certificate(self.settings)
        return renewed if renewed.exists() else self.credentials / "tls.crt"

    def health(self, service: Service) -> Health | None:
        """Return what a running process tells of itself.

        Raises:
            IntegrityError: The file is something else.
        """
        return read_health(health_path(self.exchange, service))


def require(learnt: Known | Failure) -> Known:
    """Return what was learnt.

    Raises:
        HomeplateError, OSError: It was not; this is why.
    """
    if isinstance(learnt, (HomeplateError, OSError)):
        raise learnt
    return learnt


def load_decision(settings: Settings) -> Decision | Failure:
    """Return the policy in force for the watcher, whatever the time; nothing is written.

    What it took over counts; before its first start that is what was flashed.
    """
    places = policy_places(settings, "watch")
    try:
        path = places.memory if places.memory.is_file() else places.flashed
        root = read_bounded(places.root, limit_bytes=ROLE_LIMIT_BYTES)
        trusted = trust_root(root, place=str(places.root))
        content = read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES)
        return open_bundle(content, trusted=trusted, now=None, place=str(path), unit=settings.unit)
    except (HomeplateError, OSError) as error:
        return error


def read_logs(state: Path) -> LogFacts | Failure:
    """Return what both logs say, without verifying them: `homeplate audit verify` does that."""
    try:
        return _read_logs(state)
    except (HomeplateError, OSError) as error:
        return error


def _read_logs(state: Path) -> LogFacts:
    latest_ms = receipt_ms = 0
    policies = []
    for name in ("watch", "send"):
        path = state / "audit" / name / ENTRIES
        if not path.exists():
            continue
        for content in RecordFile(path).follow():
            entry = decode_entry(content)
            latest_ms = max(latest_ms, entry.at_ms)
            if isinstance(entry, Uploaded):
                receipt_ms = max(receipt_ms, peek_receipt(entry.receipt).time_ms)
            if isinstance(entry, PolicySeen) and name == "watch":
                policies.append(entry)
    watched = recount_policies(policies)
    return LogFacts(latest_ms=latest_ms, receipt_ms=receipt_ms, policies=watched)

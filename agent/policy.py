"""The policy in force: taken over only when it verifies, remembered, kept until a better one comes.

A bundle comes from the city's endpoint through the exchange folder, or a technician puts it in the
place of the one that was flashed. Watcher and sender each judge it by themselves, with the root
that came with the unit, and each remember what they took in a folder of their own.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.base.clock import to_ms
from agent.base.errors import ConfigError, DeviceError, PolicyError, SpoolFullError
from agent.base.files import read_bounded, read_handed, write_whole
from agent.base.segments import FULL
from agent.trust.bundle import Decision, Trusted, open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.entries import PolicySeen
from agent.trust.policy_history import (
    NO_HISTORY,
    PolicyHistory,
    name_refusal,
    require_no_fall,
    require_own_root,
)
from agent.trust.roles import ROLE_LIMIT_BYTES

log = logging.getLogger(__name__)

BUNDLE_NAME: Final = "policy.bundle"
"""In the exchange folder."""
_TIMELY: Final = frozenset({"expired", "not-yet-valid"})
"""Reasons that may pass away by themselves: a clock that is set, a day that comes."""
_FLASHED: Final = "flashed.sha256"
_NAME_BYTES: Final = 64
DETAIL_LIMIT: Final = 200
LATELY: Final = 8
"""Refusals whose words a heartbeat has room for."""
_MODE: Final = 0o644
"""A policy is no secret."""

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPlaces:
    """Where a process looks for policies."""

    root: Path
    """Trusted root, as flashed."""
    flashed: Path
    """Bundle, as flashed or brought later by a technician."""
    arriving: Path
    """Bundle that the sender pulled."""
    memory: Path
    """Bundle in force; this process alone writes it."""


class PolicyKeeper:
    """One process's view of the city's policy.

    Two things say what was taken over: the bundle that is remembered, and the process's own log.
    A bundle is remembered first, so a process that is killed between the two tells its log at the
    next start. Where the log names a newer one, what is remembered was rolled back or lost: then
    the flashed policy stands in, to reach the city with, and `is_behind` says that nothing is to
    be collected or handed over under it. The same holds under another root than the one that the
    log began with, whatever it signs: nothing is taken over until the old one is back.

    Args:
        places: Where to look.
        unit: Of the settings; a policy may be for some units only.
        models_sha256: Of the models' manifest at hand, which the policy must allow; None = this
            process uses no models.
        history: What the log of this process says; None = it keeps no log.
    """

    def __init__(
        self,
        places: PolicyPlaces,
        *,
        unit: str,
        models_sha256: bytes | None,
        history: PolicyHistory | None = None,
    ) -> None:
        self._places = places
        self._unit = unit
        self._models_sha256 = models_sha256
        self._history = NO_HISTORY if history is None else history
        self._known = self._history.refused
        """What need not be told again: what still lies there at the start, then what comes again
        as the first thing in its place."""
        self._judged: dict[Path, _Stamp] = {}
        self._told: dict[Path, bytes] = {}
        """What was refused last in each place."""
        self.refusals = 0
        """Bundles that were refused since the start."""
        self.last_refusal = ""
        """Reason and words of the last one."""
        self.lately: tuple[str, ...] = ()
        """Those of the last few, the last one last."""
        self.content = b""
        """The bundle in force."""
        self._lost: tuple[bytes, str, str] | None = None
        """What stood for the policy in force and could not be used: bytes, reason, and why."""
        self._root_sha256 = b""
        self._alien = ""
        """What is wrong with the root on the unit: it is not the one that the log began with."""
        self.decision = self._load()
        """What it says."""
        self._owes_entry = history is not None and self._is_untold()
        """Whether the log has yet to say that the policy in force was taken over."""

    @property
    def is_behind(self) -> bool:
        """Whether the log names a newer policy than the one that stands in, or another root."""
        return self._falls(self.decision)

    def look(self, now: datetime) -> tuple[PolicySeen, ...]:
        """Judge what has come since the last look, and take over what is newer and verifies.

        Args:
            now: Wall clock.

        Returns:
            For the log: those that were taken over, and those that were refused, each again only
            when something else came between. After one of the first `decision` is another.
        """
        seen = [*self._tell_start(now)]
        for path in (self._places.flashed, self._places.arriving):
            stamp = _stamp_of(path)
            if stamp is None or stamp == self._judged.get(path):
                continue
            self._judged[path] = stamp
            seen += self._judge(path, now)
        self._known = self._known[-1:]
        return tuple(seen)

    def is_settled(self, path: Path) -> bool:
        """Tell whether what lies there now was taken over, or refused for good."""
        stamp = _stamp_of(path)
        return stamp is not None and stamp == self._judged.get(path)

    def _load(self) -> Decision:
        """Return what was in force, without judging the time: what was kept is still to be sent.

        Raises:
            ConfigError: Root or bundle are missing.
            PolicyError: The flashed ones do not verify, and nothing else is there.
        """
        place = self._places.root
        root_file = read_bounded(place, limit_bytes=ROLE_LIMIT_BYTES)
        self._root_sha256 = sha256(root_file).digest()
        root = trust_root(root_file, place=str(place))
        decision = self._recall(root)
        if decision is not None:
            return decision
        flashed = self._places.flashed
        content = read_bounded(flashed, limit_bytes=BUNDLE_LIMIT_BYTES)
        decision = self._open(content, root, str(flashed), None)
        if self._alien:
            return decision
        if self._falls(decision):
            self._note_flashed(content)
        else:
            self._remember(content, flashed)
        return decision

    def _recall(self, root: Trusted) -> Decision | None:
        """Return what this process took over before; None where it is gone or damaged."""
        path = self._places.memory
        content: bytes | None = b""
        try:
            require_own_root(root.root, self._history, place=self._places.root.name)
        except PolicyError as error:
            self._alien = str(error)
            self._lost = self._root_sha256, error.reason, self._alien
            log.error("another root on the unit", extra={"detail": self._alien})  # noqa: TRY400
            return None
        try:
            content = read_handed(path, limit_bytes=BUNDLE_LIMIT_BYTES)
            if content is not None:
                decision = self._open(content, root, path.name, None)
                require_no_fall(decision, self._history, place=path.name)
                self.content = content
                return decision
            if self._history.version or path.with_name(_FLASHED).exists():
                self._lost = b"", "memory", f"{path.name} is gone"
        except (PolicyError, ConfigError) as error:
            self._lost = content or b"", "memory", str(error)
        if self._lost is not None:
            log.error("remembered policy unusable", extra={"detail": self._lost[2]})
        return None

    def _tell_start(self, now: datetime) -> tuple[PolicySeen, ...]:
        """Return, once, what the log is to say of the policy with which this process began."""
        seen: tuple[PolicySeen, ...] = ()
        if self._lost is not None:
            (content, reason, why), self._lost = self._lost, None
            then = "back to the flashed policy"
            if self._alien:
                then = "nothing is kept or sent"
            elif self.is_behind:
                then = f"nothing is kept or sent until version {self._history.version} is here"
            place = self._places.memory
            seen = self._refuse(content, reason, f"{then}: {why}", now, place)
        if self._owes_entry:
            self._owes_entry = False
            seen = (*seen, self._accept(now))
        return seen

    def _judge(self, path: Path, now: datetime) -> tuple[PolicySeen, ...]:
        """Take over the bundle in a file, or say why not."""
        content = b""
        try:
            handed = read_handed(path, limit_bytes=BUNDLE_LIMIT_BYTES)
            content = handed or b""
            sha = sha256(content).digest()
            is_known = sha == self.decision.content_sha256 or self._was_flashed(path, sha)
            if handed is None or is_known:
                return ()
            self._require_own_root(path)
            found = self._open(content, self.decision.trusted, path.name, now)
            require_no_fall(found, self._history, place=path.name)
            self._require_models(found, path)
            self._remember(content, path)
        except PolicyError as error:
            if error.reason in _TIMELY:
                del self._judged[path]
            return self._refuse(content, error.reason, str(error), now, path)
        except ConfigError as error:
            return self._refuse(content, "size", str(error), now, path)
        except (DeviceError, SpoolFullError) as error:
            del self._judged[path]
            log.error("policy cannot be kept", extra={"detail": str(error)})  # noqa: TRY400
            return ()
        before, self.decision = self.decision, found
        if (found.version, found.root_version) == (before.version, before.root_version):
            return ()  # the same, with one more signature
        self._told.clear()
        self._known = ()
        log.info("policy taken over", extra={"version": found.version})
        return (self._accept(now),)

    def _refuse(
        self, content: bytes, reason: str, detail: str, now: datetime, path: Path
    ) -> tuple[PolicySeen, ...]:
        """Return the entry for a refused bundle, none where that is what was refused here last.

        What the log tells already and what still lies there, or comes again, after a start is no
        news, but the city is told after each start.
        """
        sha = sha256(content).digest()
        name = name_refusal(sha, reason)
        before = self._told.get(path)
        if before == name:
            return ()
        self._told[path] = name
        self.refusals += 1
        self.last_refusal = text = f"{reason}: {detail}"[:DETAIL_LIMIT]
        self.lately = (*self.lately, text)[-LATELY:]
        if before is None and name in self._known:
            return ()
        log.warning("policy refused", extra={"reason": reason, "detail": detail})
        return (
            PolicySeen(
                at_ms=to_ms(now),
                policy_hash=sha,
                accepted=False,
                detail=text,
                version=0,
                root_version=0,
                flashed_root=self._root_sha256,
            ),
        )

    def _accept(self, now: datetime) -> PolicySeen:
        """Return the entry for the policy in force."""
        found = self.decision
        detail = f"version {found.version}, root {found.root_version}"
        detail += f", signed by {', '.join(found.signed_by)}"
        return PolicySeen(
            at_ms=to_ms(now),
            policy_hash=found.policy_hash,
            accepted=True,
            detail=detail[:DETAIL_LIMIT],
            version=found.version,
            root_version=found.root_version,
            flashed_root=self._root_sha256,
        )

    def _open(self, content: bytes, trusted: Trusted, place: str, now: datetime | None) -> Decision:
        return open_bundle(content, trusted=trusted, now=now, place=place, unit=self._unit)

    def _is_untold(self) -> bool:
        """Tell whether the policy in force came, or came back, without a word in the log."""
        returned = self._lost is not None
        return not self.is_behind and (returned or not self._history.names(self.decision))

    def _falls(self, decision: Decision) -> bool:
        """Tell whether the log names a newer policy, another with that version, or another root."""
        if self._alien:
            return True
        try:
            require_no_fall(decision, self._history, place="")
        except PolicyError:
            return True
        return False

    def _require_own_root(self, path: Path) -> None:
        if self._alien:
            message = f"{path.name}: {self._alien}"
            raise PolicyError(message, reason="root")

    def _require_models(self, found: Decision, path: Path) -> None:
        mine = self._models_sha256
        if mine is not None and found.models_sha256 != mine:
            message = (
                f"{path.name}: allows the models {found.models_sha256.hex()[:16]}, this unit has "
                f"{mine.hex()[:16]}; bring the unit's models up to date first"
            )
            raise PolicyError(message, reason="models")

    def _remember(self, content: bytes, path: Path) -> None:
        """Keep the bundle in force; one that was flashed is no news at the next start.

        Raises:
            DeviceError, SpoolFullError: The disk refuses.
        """
        self._write(self._places.memory, content)
        if path == self._places.flashed:
            self._note_flashed(content)
        self.content = content

    def _note_flashed(self, content: bytes) -> None:
        """Keep the name of the flashed bundle: what is newer does not make it a rollback.

        Raises:
            DeviceError, SpoolFullError: The disk refuses.
        """
        name = sha256(content).hexdigest().encode()
        self._write(self._places.memory.with_name(_FLASHED), name)

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_whole(path, content, mode=_MODE)
        except OSError as error:
            message = f"{path}: cannot be written ({error.strerror}); the policy stays as it was"
            if error.errno in FULL:
                message += "; make room"
                raise SpoolFullError(message) from error
            raise DeviceError(message) from error

    def _was_flashed(self, path: Path, sha: bytes) -> bool:
        """Tell whether a bundle is the flashed one that was taken over some time ago."""
        if path != self._places.flashed:
            return False
        known = read_handed(self._places.memory.with_name(_FLASHED), limit_bytes=_NAME_BYTES)
        return known == sha.hex().encode()


def _stamp_of(path: Path) -> _Stamp | None:
    """Return what changes when a file is replaced, None without a file."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size

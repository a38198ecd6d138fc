"""The policy in force: taken over only when it verifies, remembered, kept until a better one comes.

A bundle comes from the city's endpoint through the exchange folder, or a technician puts it in the
place of the one that was flashed. Watcher and sender each judge it by themselves, with the root
that came with the unit, and each remember what they took in a folder of their own.
"""

import logging
from contextlib import suppress
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
from agent.trust.roles import ROLE_LIMIT_BYTES

log = logging.getLogger(__name__)

BUNDLE_NAME: Final = "policy.bundle"
"""In the exchange folder."""
_TIMELY: Final = frozenset({"expired", "not-yet-valid"})
"""Reasons that may pass away by themselves: a clock that is set, a day that comes."""
_FLASHED: Final = "flashed.sha256"
_REFUSED: Final = "refused.sha256"
_NAME_BYTES: Final = 64
_TOLD_LIMIT: Final = 256
DETAIL_LIMIT: Final = 200
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

    Args:
        places: Where to look.
        unit: Of the settings; a policy may be for some units only.
        models_sha256: Of the models' manifest at hand, which the policy must allow; None = this
            process uses no models.
    """

    def __init__(self, places: PolicyPlaces, *, unit: str, models_sha256: bytes | None) -> None:
        self._places = places
        self._unit = unit
        self._models_sha256 = models_sha256
        self._judged: dict[Path, _Stamp] = {}
        self._told: set[bytes] = set()
        self.refusals = 0
        """Bundles that were refused since the start."""
        self.last_refusal = ""
        """Reason and words of the last one."""
        self.content = b""
        """The bundle in force."""
        self._lost: tuple[bytes, str] | None = None
        """What stood for the policy in force and could not be used: bytes, and why."""
        self.decision = self._load()
        """What it says."""

    def look(self, now: datetime) -> tuple[PolicySeen, ...]:
        """Judge what has come since the last look, and take over what is newer and verifies.

        Args:
            now: Wall clock.

        Returns:
            For the log: each refused bundle once, and those that were taken over. After one of
            these `decision` is another.
        """
        seen = [*self._tell_lost(now)]
        for path in (self._places.flashed, self._places.arriving):
            stamp = _stamp_of(path)
            if stamp is None or stamp == self._judged.get(path):
                continue
            self._judged[path] = stamp
            seen += self._judge(path, now)
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
        root = trust_root(read_bounded(place, limit_bytes=ROLE_LIMIT_BYTES), place=str(place))
        decision = self._recall(root)
        if decision is not None:
            return decision
        flashed = self._places.flashed
        content = read_bounded(flashed, limit_bytes=BUNDLE_LIMIT_BYTES)
        decision = self._open(content, root, flashed, None)
        self._remember(content, flashed)
        return decision

    def _recall(self, root: Trusted) -> Decision | None:
        """Return what this process took over before; None where it is gone or damaged."""
        path = self._places.memory
        content: bytes | None = b""
        try:
            content = read_handed(path, limit_bytes=BUNDLE_LIMIT_BYTES)
            if content is not None:
                decision = self._open(content, root, path, None)
                self.content = content
                return decision
            if path.with_name(_FLASHED).exists():
                self._lost = b"", f"{path.name} is gone"
        except (PolicyError, ConfigError) as error:
            self._lost = content or b"", str(error)
        if self._lost is not None:
            log.error("remembered policy unusable", extra={"detail": self._lost[1]})
        return None

    def _tell_lost(self, now: datetime) -> tuple[PolicySeen, ...]:
        """Return, once, the entry that the flashed policy stands in for the one in force."""
        if self._lost is None:
            return ()
        (content, why), self._lost = self._lost, None
        return self._refuse(content, "memory", f"back to the flashed policy: {why}", now)

    def _judge(self, path: Path, now: datetime) -> tuple[PolicySeen, ...]:
        """Take over the bundle in a file, or say why not."""
        content = b""
        try:
            content = read_handed(path, limit_bytes=BUNDLE_LIMIT_BYTES) or b""
            sha = sha256(content).digest()
            if not content or sha == self.decision.content_sha256 or self._was_flashed(path, sha):
                return ()
            found = self._open(content, self.decision.trusted, path, now)
            self._require_models(found, path)
            self._remember(content, path)
        except PolicyError as error:
            if error.reason in _TIMELY:
                del self._judged[path]
            return self._refuse(content, error.reason, str(error), now)
        except ConfigError as error:
            return self._refuse(content, "size", str(error), now)
        except (DeviceError, SpoolFullError) as error:
            del self._judged[path]
            log.error("policy cannot be kept", extra={"detail": str(error)})  # noqa: TRY400
            return ()
        before, self.decision = self.decision, found
        if (found.version, found.root_version) == (before.version, before.root_version):
            return ()  # the same, with one more signature
        return (_accepted(found, now),)

    def _refuse(
        self, content: bytes, reason: str, detail: str, now: datetime
    ) -> tuple[PolicySeen, ...]:
        """Return the entry for a refused bundle, none where it was told before."""
        text = f"{reason}: {detail}"[:DETAIL_LIMIT]
        sha = sha256(content).digest()
        told = sha256(sha + reason.encode()).digest()
        if told in self._told:
            return ()
        if len(self._told) >= _TOLD_LIMIT:
            self._told.clear()
        self._told.add(told)
        self.refusals += 1
        self.last_refusal = text
        if not self._is_news(told):
            return ()
        log.warning("policy refused", extra={"reason": reason, "detail": detail})
        return (PolicySeen(at_ms=to_ms(now), policy_hash=sha, accepted=False, detail=text),)

    def _is_news(self, told: bytes) -> bool:
        """Tell whether this was not the last thing that was refused before this start, too."""
        path, name = self._places.memory.with_name(_REFUSED), told.hex().encode()
        with suppress(OSError, ConfigError):
            if read_handed(path, limit_bytes=_NAME_BYTES) == name:
                return False
            write_whole(path, name, mode=_MODE)
        return True

    def _open(self, content: bytes, trusted: Trusted, path: Path, now: datetime | None) -> Decision:
        place = str(path) if now is None else path.name  # the log has room for 200 characters
        return open_bundle(content, trusted=trusted, now=now, place=place, unit=self._unit)

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
        memory = self._places.memory
        try:
            memory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_whole(memory, content, mode=_MODE)
            if path == self._places.flashed:
                sha = sha256(content).hexdigest()
                write_whole(memory.with_name(_FLASHED), sha.encode(), mode=_MODE)
        except OSError as error:
            message = f"{memory}: cannot be written ({error.strerror}); the policy stays as it was"
            if error.errno in FULL:
                message += "; make room"
                raise SpoolFullError(message) from error
            raise DeviceError(message) from error
        self.content = content

    def _was_flashed(self, path: Path, sha: bytes) -> bool:
        """Tell whether a bundle is the flashed one that was taken over some time ago."""
        if path != self._places.flashed:
            return False
        known = read_handed(self._places.memory.with_name(_FLASHED), limit_bytes=_NAME_BYTES)
        return known == sha.hex().encode()


def _accepted(found: Decision, now: datetime) -> PolicySeen:
    detail = f"version {found.version}, root {found.root_version}"
    detail += f", signed by {', '.join(found.signed_by)}"
    log.info("policy taken over", extra={"version": found.version})
    return PolicySeen(
        at_ms=to_ms(now), policy_hash=found.policy_hash, accepted=True, detail=detail[:DETAIL_LIMIT]
    )


def _stamp_of(path: Path) -> _Stamp | None:
    """Return what changes when a file is replaced, None without a file."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size

"""What a log says of policies and hotlists: below what it once took a process never falls again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from agent.base.errors import PolicyError
from agent.trust.bundle import Decision
from agent.trust.entries import Entry, HotlistSeen, PolicySeen

PLACES: Final = 3
"""A refused bundle may lie in so many: flashed, arriving, remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyHistory:
    """What one process's log says of policies and hotlists."""

    version: int = 0
    """The highest that was taken over; 0 = none yet."""
    root_version: int = 0
    """The highest root."""
    flashed_root: bytes = b""
    """SHA-256 of the root file under which the first was taken over; empty = none was yet."""
    policy_hash: bytes = b""
    """Of the policy with that version."""
    refused: tuple[bytes, ...] = ()
    """Names, by `name_refusal`, of the last refusals since a policy was taken over."""
    hotlist_version: int = 0
    """The highest of a list that was taken."""

    def names(self, decision: Decision) -> bool:
        """Tell whether the log says that this one was taken over, and nothing newer."""
        found = decision.version, decision.root_version, decision.policy_hash
        return found == (self.version, self.root_version, self.policy_hash)


NO_HISTORY: Final = PolicyHistory()
"""Of a log that says nothing of policies."""


def name_refusal(sha256_of_bundle: bytes, reason: str) -> bytes:
    """Return what two refusals have in common when the second is no news."""
    return sha256(sha256_of_bundle + reason.encode()).digest()


def recount_policies(entries: Iterable[Entry]) -> PolicyHistory:
    """Return what entries of a log, in their order, say of policies and hotlists."""
    history = NO_HISTORY
    for entry in entries:
        if isinstance(entry, PolicySeen):
            history = _accept(history, entry) if entry.accepted else _refuse(history, entry)
        elif isinstance(entry, HotlistSeen):  # a refused one has version 0
            highest = max(history.hotlist_version, entry.version)
            history = replace(history, hotlist_version=highest)
    return history


def require_no_fall(decision: Decision, history: PolicyHistory, *, place: str) -> Decision:
    """Return `decision` when it is no less than what the log says was taken over.

    Raises:
        PolicyError: `rollback` or `fork`.
    """
    for what, found, known in (
        ("", decision.version, history.version),
        ("root ", decision.root_version, history.root_version),
    ):
        if found < known:
            message = f"{place}: {what}version {found}, but this unit's log says that {known} was "
            message += "taken over already"
            raise PolicyError(message, reason="rollback")
    if decision.version == history.version and decision.policy_hash != history.policy_hash:
        message = f"{place}: another version {decision.version} than the one in this unit's log"
        raise PolicyError(message, reason="fork")
    return decision


def require_own_root(content: bytes, history: PolicyHistory, *, place: str) -> None:
    """Make sure that the root on the unit is the one that its log began with.

    Raises:
        PolicyError: `root`: whoever put it there could name any offices.
    """
    found = sha256(content).digest()
    if history.flashed_root not in (b"", found):
        message = (
            f"{place}: {found.hex()[:16]} is another root than {history.flashed_root.hex()[:16]}"
        )
        message += ", with which this unit's log began; put the old one back, or enrol the unit "
        message += "anew with an empty state folder"
        raise PolicyError(message, reason="root")


def _accept(history: PolicyHistory, entry: PolicySeen) -> PolicyHistory:
    newer = entry.version >= history.version
    return replace(
        history,
        version=max(entry.version, history.version),
        root_version=max(entry.root_version, history.root_version),
        flashed_root=history.flashed_root or entry.flashed_root,
        policy_hash=entry.policy_hash if newer else history.policy_hash,
        refused=(),
    )


def _refuse(history: PolicyHistory, entry: PolicySeen) -> PolicyHistory:
    name = name_refusal(entry.policy_hash, entry.detail.partition(":")[0])
    kept = [other for other in history.refused if other != name]
    return replace(history, refused=(*kept, name)[-PLACES:])

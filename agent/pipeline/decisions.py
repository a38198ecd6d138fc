"""What the city decides that reaches a running watcher, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.gate import GateRules, Hotlist
from agent.trust.entries import HotlistSeen, PolicySeen
from agent.trust.signatures import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the city decided about keeping."""

    gate: GateRules
    crops: str
    """none, hits or all."""
    retention_s: dict[Lane, int]
    expires_at: datetime
    """End of the policy: from then on nothing is kept."""
    commit_interval_s: float
    stands_in: bool = False
    """Whether these are of an older policy that stands in for one that is gone: nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What changes in a running watcher with another policy."""

    rules: Rules
    city_key: PublicKey
    policy_sha256: bytes
    segments: SpoolSettings
    quota_bytes: Mapping[Lane, int]
    keep_crops: bool
    certain_looks: int


class Lists(Protocol):
    """Where hotlists come from."""

    hotlist: Hotlist
    """The newest that holds."""

    def look(self) -> tuple[HotlistSeen, ...]:
        """Take a list that came, or say why not, for the log; to be quick."""
        ...


class Policies(Protocol):
    """Where policies come from."""

    def look(self) -> tuple[PolicySeen, ...]:
        """Judge what came, for the log; to be quick."""
        ...

    def renewal(self) -> Renewal:
        """Return what the policy in force says."""
        ...

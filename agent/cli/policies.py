"""What a policy means for a running watcher, and how the watcher gets the next one."""

from collections.abc import Mapping

import msgspec

from agent.base.clock import Clock
from agent.base.errors import PolicyError
from agent.base.lanes import Lane
from agent.base.settings import Settings, SpoolSettings
from agent.cli.lists import list_rules
from agent.cli.unit import Unit
from agent.gate import GateRules
from agent.pipeline.decisions import Renewal, Rules
from agent.pipeline.pickup import HotlistPickup
from agent.trust.bundle import Decision
from agent.trust.entries import PolicySeen
from agent.trust.policy import city_key, quota_bytes, retention_s

LOOK_INTERVAL_NS = 1_000_000_000
"""How often the watcher looks for a policy that came."""
SEGMENT_SHARE = 1 / 3
"""Of the shortest retention: how long a segment stays open at most."""


class WatchedPolicies:
    """The watcher's way to the next policy; the hotlists follow it."""

    def __init__(self, unit: Unit, lists: HotlistPickup, clock: Clock) -> None:
        self._unit, self._lists, self._clock = unit, lists, clock
        self._looked_ns = clock.monotonic_ns()

    def look(self) -> tuple[PolicySeen, ...]:
        """Judge what came; see `Policies.look`."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_INTERVAL_NS:
            return ()
        self._looked_ns = now_ns
        return self._unit.keeper.look(self._clock.now())

    def renewal(self) -> Renewal:
        """Return what the policy in force says; see `Policies.renewal`."""
        self._lists.follow(list_rules(self._unit.keeper.decision))
        return renew_unit(self._unit)


def renew_unit(unit: Unit) -> Renewal:
    """Return what the policy in force means for a unit."""
    return renew(unit.settings, unit.keeper.decision, stands_in=unit.keeper.is_behind)


def renew(settings: Settings, decision: Decision, *, stands_in: bool = False) -> Renewal:
    """Return what a policy means for a unit with these settings.

    Args:
        settings: Of the unit.
        decision: The policy.
        stands_in: Whether it only stands in for a newer one that is gone.
    """
    policy = decision.policy
    retention = retention_s(policy)
    return Renewal(
        rules=Rules(
            gate=GateRules(
                mode=policy.mode,
                min_hit_confidence=policy.min_hit_confidence,
                min_hit_frames=policy.min_hit_frames,
            ),
            crops=policy.crops,
            retention_s=retention,
            expires_at=decision.expires_at,
            stands_in=stands_in,
            commit_interval_s=settings.spool.commit_interval_s,
        ),
        city_key=city_key(policy),
        policy_sha256=decision.policy_hash,
        segments=limit_segment_age(settings.spool, retention),
        quota_bytes=quota_bytes(policy),
        keep_crops=policy.crops != "none",
        certain_looks=policy.min_hit_frames,
    )


def require_models(unit: Unit, models_sha256: bytes) -> None:
    """Make sure that the city allows the models at hand.

    Raises:
        PolicyError: It allows others.
    """
    allowed = unit.decision.models_sha256
    if allowed != models_sha256:
        message = (
            f"the policy in force allows the models {allowed.hex()[:16]}, this unit has "
            f"{models_sha256.hex()[:16]}; ask the city for a policy with these models"
        )
        raise PolicyError(message, reason="models")


def limit_segment_age(settings: SpoolSettings, retention: Mapping[Lane, int]) -> SpoolSettings:
    """Return the settings with segments that close well within the shortest retention, in seconds.

    Only a closed segment can be deleted, so the operator's setting must not outlast the policy.
    """
    longest_s = min(retention.values()) * SEGMENT_SHARE
    limit_s = min(settings.segment_limit_s, longest_s)
    return msgspec.structs.replace(settings, segment_limit_s=limit_s)

"""Builds the watcher's way to the hotlist; the key in memory that opens it is drawn here."""

from concurrent.futures import Executor
from pathlib import Path

from agent.base.clock import Clock, to_ms
from agent.cli.unit import Unit
from agent.pipeline.pickup import HotlistPickup, ListRules, Wish
from agent.trust.bundle import Decision
from agent.trust.hotlist import HotlistRequest, sign_request
from agent.trust.keys import generate_opener


def build_lists(unit: Unit, clock: Clock, executor: Executor) -> HotlistPickup:
    """Return the watcher's way to the hotlist, with a fresh key that only this process has.

    Args:
        unit: Its watcher's log key signs the request.
        clock: Never runs back, also over restarts: a request is newer than all before it.
        executor: Opens lists beside the road.

    Raises:
        ConfigError, CredentialError: The log key is missing or is none.
    """
    opener = generate_opener()
    request = HotlistRequest(
        unit=unit.settings.unit,
        boot=unit.boot,
        key=opener.public_key,
        made_ms=to_ms(clock.now()),
    )
    return HotlistPickup(
        wish=Wish(request=sign_request(unit.load_signer("watch.key"), request), key=opener),
        rules=list_rules(unit.decision),
        exchange=Path(unit.settings.exchange_directory),
        memory=Path(unit.settings.state_directory) / "policy" / "watch",
        clock=clock,
        executor=executor,
        logged_version=unit.history.hotlist_version,
    )


def list_rules(decision: Decision) -> ListRules:
    """Return what a policy says of hotlists."""
    return ListRules(
        keys=decision.hotlist_keys,
        purposes=decision.policy.purposes,
        entries=decision.policy.hotlist_entries,
    )

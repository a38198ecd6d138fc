"""`homeplate send`: the sender. Has a network, sees only sealed bytes."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import __version__
from agent.audit import AuditLog, LogReader, read_backlog
from agent.base.clock import Clock, SystemClock, to_ms
from agent.base.errors import IntegrityError
from agent.base.health import SendCounters
from agent.base.health_file import Health, health_path, read_health
from agent.base.log import set_up_logging
from agent.base.notify import Progress, find_manager
from agent.cli.arrivals import load_service, log_arrivals
from agent.cli.door import build_uplink
from agent.cli.lockdown import Lockdown
from agent.cli.unit import (
    Unit,
    add_config,
    add_credentials,
    load_settings,
    refresh_policy,
    require_in_service,
    require_own_certificate,
    stop_on_signal,
)
from agent.cli.vitals import look_at
from agent.cli.vitals_send import HealthErrand, WatchdogErrand, send_health
from agent.pipeline.courier import HotlistCourier
from agent.pipeline.errands import Errand, HeartbeatErrand, PolicyErrand
from agent.pipeline.fetching import Here, UpdateErrand
from agent.pipeline.renewal import RenewingUplink
from agent.pipeline.rounds import send_forever
from agent.pipeline.send import Sending, Terms
from agent.spool import SpoolReader
from agent.trust.entries import Boot
from agent.trust.policy import quota_bytes, receipt_keys, retention_s

UPDATE: Final = "update"
"""Below the state folder: the sender's own, for what it brings."""
APPLICATION: Final = "application"
"""Below the state folder: root's, for what runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    add_credentials(parser)
    parser.add_argument(
        "--locked",
        action="store_true",
        help="try other addresses first and all the time; end when the system lets one through",
    )
    parser.add_argument(
        "--drain",
        action="store_true",
        help="end when the watcher has signed off and nothing is left to send",
    )


def run(args: argparse.Namespace) -> int:
    """Send until a signal comes; print the counters at the end.

    Another policy ends a round of sending in good order, and the next begins under it.
    """
    clock, settings = SystemClock(), load_settings(args.config)
    require_in_service(settings)
    stop = stop_on_signal()
    set_up_logging(level=settings.log_level)
    unit = load_service(args.config, "send", clock, credentials=args.credentials)
    require_own_certificate(unit)
    counters = SendCounters()
    manners = Manners(
        stop=stop,
        drain=args.drain,
        lockdown=Lockdown(clock) if args.locked else None,
        watchdog=Progress(find_manager(os.environ), clock),
    )
    while send_under_policy(unit, clock, counters, manners):
        unit = unit.begun_anew()
    manners.watchdog.end()
    sys.stdout.write(json.dumps(counters.as_dict()) + "\n")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How the sender runs, whatever the policy."""

    stop: Callable[[], bool]
    drain: bool
    lockdown: Lockdown | None
    """None = it is not asked that the system let nothing else through."""
    watchdog: Progress


def send_under_policy(unit: Unit, clock: Clock, counters: SendCounters, manners: Manners) -> bool:
    """Send under one policy; tell whether it ended because another is in force."""
    unit, arrivals = refresh_policy(unit, clock)
    if manners.lockdown is not None:
        manners.lockdown.begin(unit.policy.endpoint)
    log_arrivals(unit, "send", arrivals, clock)
    settings = unit.settings.uplink
    uplink = build_uplink(unit, clock)
    sending = build_sending(unit, clock, uplink, counters)
    health = send_health(unit, sending, clock, locked=manners.lockdown is not None)
    lockdown = () if manners.lockdown is None else (manners.lockdown,)
    policy = PolicyErrand(
        uplink,
        unit.keeper,
        exchange=unit.exchange,
        note=sending.note,
        clock=clock,
        interval_s=settings.policy_interval_s,
    )
    send_forever(
        sending,
        stop=lambda: manners.stop() or policy.changed,
        drain=manners.drain,
        poll_interval_s=settings.poll_interval_s,
        max_back_off_s=settings.max_back_off_s,
        errands=(
            *lockdown,
            policy,
            *build_errands(unit, clock, uplink, counters),
            *build_updates(unit, clock, uplink, sending),
            HealthErrand(health, counters.as_dict),
            WatchdogErrand(manners.watchdog, lambda: tell_status(counters)),
        ),
    )
    uplink.close()
    health.remove()
    return policy.changed and not manners.stop()


def tell_status(counters: SendCounters) -> str:
    """Return one line for `systemctl status`."""
    return f"{counters.frames_uploaded} frames sent, {counters.failures} failures"


def build_errands(
    unit: Unit, clock: Clock, uplink: RenewingUplink, counters: SendCounters
) -> tuple[Errand, ...]:
    """Return what else is carried, besides frames and the policy."""

    def tell() -> tuple[int, dict[str, int], Health | None]:
        ends_ms = uplink.certificate.not_after_s * 1000
        return ends_ms, counters.as_dict(), read_watcher(unit.exchange)

    heartbeat = HeartbeatErrand(
        uplink,
        unit.keeper,
        facts=tell,
        clock=clock,
        interval_s=unit.settings.uplink.heartbeat_interval_s,
        look=look_at(unit.settings, clock),
    )
    return (HotlistCourier(unit.exchange, uplink, clock), heartbeat)


def build_updates(
    unit: Unit, clock: Clock, uplink: RenewingUplink, sending: Sending
) -> tuple[Errand, ...]:
    """Return what brings updates, where the package has made a folder for them."""
    state = Path(unit.settings.state_directory)
    if not (state / UPDATE).is_dir():
        return ()
    version = sys.version_info
    here = Here(
        machine=platform.machine(), python=f"{version.major}.{version.minor}", version=__version__
    )
    errand = UpdateErrand(
        uplink,
        lambda: None if unit.keeper.is_behind else unit.keeper.decision.release,
        folder=state / UPDATE,
        slots=state / APPLICATION,
        note=sending.note,
        clock=clock,
        here=here,
    )
    return (errand,)


def read_watcher(exchange: Path) -> Health | None:
    """Return what the watcher told last, None where it has not or its file makes no sense."""
    with suppress(IntegrityError):
        return read_health(health_path(exchange, "watch"))
    return None


def build_sending(
    unit: Unit, clock: Clock, uplink: RenewingUplink, counters: SendCounters | None = None
) -> Sending:
    """Return the sender's stages; its log says that they began."""
    origin = f"homeplate/{unit.settings.unit}/send"
    audit = AuditLog(unit.send_audit, unit.load_signer("send.key"), origin, clock)
    require_in_service(unit.settings)  # again: from here on nobody retires it, the log is ours
    backlog = read_backlog(unit.send_audit)
    audit.append(
        Boot(
            at_ms=to_ms(clock.now()),
            boot=unit.boot,
            version=__version__,
            policy_hash=unit.policy_sha256,
        )
    )
    audit.checkpoint()
    terms = Terms(
        unit=unit.settings.unit,
        receipt_keys=receipt_keys(unit.policy),
        retention_s=retention_s(unit.policy),
        quota_bytes=quota_bytes(unit.policy),
        uploads=not unit.keeper.is_behind,
    )
    return Sending(
        terms=terms,
        spool=SpoolReader(unit.spool),
        watched=LogReader(unit.watch_audit),
        backlog=backlog,
        uplink=uplink,
        audit=audit,
        clock=clock,
        batch_interval_s=unit.settings.uplink.batch_interval_s,
        counters=counters,
    )

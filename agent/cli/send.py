"""`homeplate send`: the sender. Has a network, sees only sealed bytes."""

import argparse
import json
import sys

from agent import __version__
from agent.audit import AuditLog, LogReader, read_backlog
from agent.base.clock import SystemClock, to_ms
from agent.base.log import set_up_logging
from agent.cli.unit import Unit, add_config, load_unit, require_own_certificate, stop_on_signal
from agent.pipeline.send import Sending, Terms, send_forever
from agent.spool import SpoolReader
from agent.trust.entries import Boot
from agent.trust.policy import quota_bytes, receipt_keys, retention_s
from agent.uplink import Uplink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--drain",
        action="store_true",
        help="end when the watcher has signed off and nothing is left to send",
    )


def run(args: argparse.Namespace) -> int:
    """Send until a signal comes; print the counters at the end."""
    clock = SystemClock()
    unit = load_unit(args.config)
    require_own_certificate(unit)
    set_up_logging(level=unit.settings.log_level)
    uplink = build_uplink(unit)
    sending = build_sending(unit, clock, uplink)
    send_forever(
        sending,
        stop=stop_on_signal(),
        drain=args.drain,
        poll_interval_s=unit.settings.uplink.poll_interval_s,
        max_back_off_s=unit.settings.uplink.max_back_off_s,
    )
    uplink.close()
    sys.stdout.write(json.dumps(sending.counters.as_dict()) + "\n")
    return 0


def build_uplink(unit: Unit) -> Uplink:
    """Return the one way out, to the endpoint of the policy."""
    return Uplink(
        unit.policy.endpoint,
        certificate=unit.credential("tls.crt"),
        key=unit.credential("tls.key"),
        timeout_s=unit.settings.uplink.timeout_s,
    )


def build_sending(unit: Unit, clock: SystemClock, uplink: Uplink) -> Sending:
    """Return the sender's stages; its log says that they began."""
    origin = f"homeplate/{unit.settings.unit}/send"
    audit = AuditLog(unit.send_audit, unit.load_signer("send.key"), origin, clock)
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
    )
    return Sending(
        terms=terms,
        spool=SpoolReader(unit.spool),
        watched=LogReader(unit.watch_audit, known_size=backlog.known_size),
        backlog=backlog,
        uplink=uplink,
        audit=audit,
        clock=clock,
        batch_interval_s=unit.settings.uplink.batch_interval_s,
    )

"""The command `status`: what is stored, and how each unit was when it last told."""

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import msgspec

from agent.base.clock import SystemClock, from_ms
from agent.base.lanes import Lane
from homeplate_endpoint.config import load_settings
from homeplate_endpoint.heartbeats import HEARTBEATS, Kept, read_heartbeats
from homeplate_endpoint.issuing import load_certificate
from homeplate_endpoint.reading import Alarm, LaneCount, read_alarms, read_counts
from homeplate_endpoint.server_certificate import WARN_DAYS
from homeplate_endpoint.units import Enrolled, Units


def run_status(args: argparse.Namespace) -> int:
    """Print it.

    Raises:
        ConfigError: The settings or a heartbeat cannot be read.
        DeviceError: There is no storage, or the disk failed.
    """
    settings, base = load_settings(args.config), args.config.resolve().parent
    storage, register = base / settings.storage, base / settings.units
    counts, alarms = read_counts(storage), read_alarms(storage)
    beats = read_heartbeats(register.with_name(HEARTBEATS))
    known = _read_units(register)
    silent = [unit.name for unit in known if unit.state == "active" and unit.name not in beats]
    ended = {unit.name: unit for unit in known if unit.state != "active"}
    ends_at = load_certificate(base / settings.tls.certificate).not_valid_after_utc
    if args.json:
        found: dict[str, object] = {"lanes": [asdict(item) for item in counts]}
        found["alarms"] = [asdict(alarm) for alarm in alarms]
        found["heartbeats"] = msgspec.to_builtins(beats)
        found["never_heard_from"] = silent
        found["ended"] = {name: unit.state for name, unit in ended.items()}
        found["server_certificate_until"] = ends_at.isoformat()
        print(json.dumps(found))
        return 0
    lines = (
        *tell_counts(counts),
        *(tell_beat(unit, kept) for unit, kept in beats.items() if unit not in ended),
        *map(tell_end, ended.values()),
        *(f"{unit:<24}NEVER HEARD FROM since it was enrolled" for unit in silent),
        *map(tell_alarm, alarms),
        *warn_of_end(ends_at, SystemClock().now()),
    )
    print("\n".join(lines))
    return 0


def tell_counts(counts: tuple[LaneCount, ...]) -> Iterator[str]:
    """Yield the table of what is stored."""
    yield f"{'unit':<24}{'lane':<8}{'frames':>10}{'reads':>12}{'MB':>10}"
    for item in counts:
        lane, size = Lane(item.lane).label, item.size_bytes / 1e6
        yield f"{item.unit:<24}{lane:<8}{item.frames:>10,}{item.reads:>12,}{size:>10,.1f}"


def tell_beat(unit: str, kept: Kept) -> str:
    """Return a line on how a unit was when it last told."""
    at = from_ms(kept.received_ms).isoformat(timespec="seconds")
    policy, watch = kept.beat.policy, kept.beat.watch
    line = f"{unit:<24}heard at {at}, policy {policy.version} ({policy.hash[:16]})"
    refused = _tell_refused("by the sender", policy.refusals, policy.last_refusal)
    if watch is None:
        return f"{line}, its watcher does not run{refused}"
    facts = watch.facts
    if facts.policy_version != policy.version:
        line += f", its watcher still has {facts.policy_version}"
    line += f", hotlist {facts.hotlist_version or 'none'}"
    line += refused
    line += _tell_refused("by the watcher", facts.policy_refusals, facts.last_refusal)
    line += _tell_refused("hotlist", facts.hotlist_refusals, facts.hotlist_refusal)
    return f"{line}; {facts.trouble}" if facts.trouble else line


def tell_end(unit: Enrolled) -> str:
    """Return a line on a unit that is no longer in service: nothing is taken from it."""
    at = "" if unit.ended_ms is None else f" {from_ms(unit.ended_ms).isoformat(timespec='seconds')}"
    return f"{unit.name:<24}{unit.state}{at}, {unit.reason}"


def tell_alarm(alarm: Alarm) -> str:
    """Return a line on a unit that is not what it claims to be."""
    at = from_ms(alarm.time_ms).isoformat(timespec="seconds")
    return f"ALARM {at} {alarm.unit} {alarm.kind}: {alarm.detail}"


def warn_of_end(ends_at: datetime, now: datetime) -> Iterator[str]:
    """Yield a warning while there is time: without its certificate no unit talks to the server."""
    if (ends_at - now).days < WARN_DAYS:
        yield f"the server's certificate ends at {ends_at:%Y-%m-%d %H:%M} UTC: see `certificate`"


def _tell_refused(what: str, count: int, last: str) -> str:
    """Return what one process refused of one kind, the last in its words."""
    return f"; REFUSED {what}, {count} since its start, the last: {last}" if last else ""


def _read_units(register: Path) -> tuple[Enrolled, ...]:
    if not register.exists():
        return ()
    with closing(Units(register)) as units:
        return units.all()

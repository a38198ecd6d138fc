"""`homeplate status`: what a running unit does. Numbers only; a plate is never in them."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.base.clock import SystemClock, from_ms, to_ms
from agent.base.errors import DeviceError, HomeplateError
from agent.base.health import CameraState
from agent.base.health_file import STALE_S, Health, Service, health_path, read_health
from agent.base.heat import read_celsius
from agent.base.lanes import Lane
from agent.base.settings import Settings
from agent.base.unit_state import UnitState
from agent.cli.check.words import tell_bytes, tell_instant, tell_span
from agent.cli.terminal import Screen, look_at
from agent.cli.unit import add_config, load_settings
from agent.spool import SpoolReader

SERVICES: Final[tuple[Service, ...]] = ("watch", "send")
TITLES: Final[dict[Service, str]] = {"watch": "watcher", "send": "sender"}
LABEL_WIDTH: Final = 14
GOOD, BAD, DOUBT = ("●", "*", "green"), ("○", "-", "red"), ("●", "!", "yellow")
FORGOTTEN: Final = "forgotten_"
"""Counters of how long reads lived that never left memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A unit at one moment."""

    settings: Settings
    now_ms: int
    health: dict[Service, Health | None]
    queue_bytes: dict[Lane, int]
    oldest_ms: int | None
    """Of the sealed frames that wait."""
    cpu_celsius: float | None

    def runs(self, service: Service) -> bool:
        """Tell whether a process is alive: it told of itself a moment ago."""
        health = self.health[service]
        return health is not None and self.now_ms - health.at_ms < STALE_S * 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for machines")


def run(args: argparse.Namespace) -> int:
    """Show both processes; 69 when one of them does not run.

    Raises:
        ConfigError: The settings are missing or wrong.
        IntegrityError: What stands for a process's health is something else.
    """
    report = look_at_unit(load_settings(args.config), now_ms=to_ms(SystemClock().now()))
    if args.json:
        print(encode_report(report))
    else:
        screen = look_at(sys.stdout, os.environ)
        print("\n".join(draw_report(report, screen)))
    return 0 if all(map(report.runs, SERVICES)) else DeviceError.exit_code


def look_at_unit(settings: Settings, *, now_ms: int) -> Report:
    """Return what the unit tells of itself and what its folders show.

    Raises:
        IntegrityError: A health file is something else.
    """
    exchange = Path(settings.exchange_directory)
    spool = SpoolReader(Path(settings.state_directory) / "spool")
    queue, oldest = {}, []
    for lane in Lane:
        try:
            queue[lane] = spool.usage_bytes(lane)
            oldest.append(spool.oldest_ms(lane))
        except HomeplateError:  # not ours to read: what is known is shown all the same
            continue
    return Report(
        settings=settings,
        now_ms=now_ms,
        health={service: read_health(health_path(exchange, service)) for service in SERVICES},
        queue_bytes=queue,
        oldest_ms=min((time for time in oldest if time is not None), default=None),
        cpu_celsius=read_celsius(),
    )


def encode_report(report: Report) -> str:
    """Return the report as one JSON object."""
    services = {
        service: {
            "runs": report.runs(service),
            "health": None if health is None else msgspec.to_builtins(health),
        }
        for service, health in report.health.items()
    }
    site = msgspec.to_builtins(report.settings.site)
    return json.dumps(
        {
            "unit": report.settings.unit,
            "site": site,
            "at_ms": report.now_ms,
            "services": services,
            "queue_bytes": {lane.label: size for lane, size in report.queue_bytes.items()},
            "oldest_ms": report.oldest_ms,
            "cpu_celsius": report.cpu_celsius,
        },
        ensure_ascii=False,
    )


def draw_report(report: Report, screen: Screen) -> Iterator[str]:
    """Give the lines for people."""
    site = report.settings.site.name
    yield screen.paint(f"{report.settings.unit}{', ' if site else ''}{site}", "bold")
    for service in SERVICES:
        yield draw_service(report, service, screen)
    watch, send = report.health["watch"], report.health["send"]
    yield from draw_pace(watch)
    yield draw_row("queue", tell_queue(report))
    if send is not None:
        yield from draw_sending(send, report.now_ms)
    one = watch or send
    if one is not None:
        yield draw_policy(one)
        yield draw_row("hotlist", tell_hotlist(watch, report.now_ms))
    yield from draw_camera(watch)
    yield from draw_unit(report, send or watch)


def draw_row(label: str, text: str) -> str:
    """Return one aligned line."""
    return f"  {label:<{LABEL_WIDTH}}{text}"


def draw_service(report: Report, service: Service, screen: Screen) -> str:
    """Return the line of one process."""
    health, title = report.health[service], TITLES[service]
    if health is None:
        return f"{screen.mark(BAD)} {title:<{LABEL_WIDTH}}does not run"
    age_s = (report.now_ms - health.at_ms) / 1000
    if not report.runs(service):
        return (
            f"{screen.mark(BAD)} {title:<{LABEL_WIDTH}}silent for {tell_span(age_s)}: hangs or died"
        )
    text = f"runs for {tell_span((health.at_ms - health.facts.started_ms) / 1000)}"
    text += f", version {health.facts.version}, process {health.facts.pid}"
    if health.facts.trouble:
        return f"{screen.mark(DOUBT)} {title:<{LABEL_WIDTH}}{text}; {health.facts.trouble}"
    return f"{screen.mark(GOOD)} {title:<{LABEL_WIDTH}}{text}"


def draw_pace(watch: Health | None) -> Iterator[str]:
    """Give what the watcher does a minute and what it did since its start."""
    if watch is None:
        return
    grown, counters = watch.lately, watch.counters
    passed = f"{grown.get('passages', 0)} vehicles and {grown.get('plates', 0)} plates"
    text = f"{passed} in {grown.get('frames', 0)} frames"
    yield draw_row(f"last {watch.lately_s:.0f} s", text)
    names = ("frames", "passages", "hits", "reads", "turned_away", "unreadable", "sealed")
    shown = [f"{counters[name]} {name.replace('_', ' ')}" for name in names if name in counters]
    yield draw_row("since start", ", ".join(shown))
    if unclear := counters.get("reads_unreadable"):
        yield draw_row("", f"of the reads {unclear} are unreadable")
    losses = ("broken_frames", "failed_frames", "frames_shed", "dropped", "crops_dropped")
    lost = [f"{counters[name]} {name.replace('_', ' ')}" for name in losses if counters.get(name)]
    yield draw_row("lost", ", ".join(lost) or "nothing")
    lived = {
        name.removeprefix(FORGOTTEN).replace("within_", "≤ ").replace("s", " s"): count
        for name, count in counters.items()
        if name.startswith(FORGOTTEN) and count
    }
    if lived:
        text = ", ".join(f"{span}: {count}" for span, count in lived.items())
        yield draw_row("forgotten", f"by how long they lived: {text}")


def tell_queue(report: Report) -> str:
    """Return what waits on the disk."""
    if not report.queue_bytes:
        return "may not be seen: run this as root"
    parts = [f"{lane.label} {tell_bytes(size)}" for lane, size in report.queue_bytes.items()]
    if report.oldest_ms is None:
        return f"{', '.join(parts)}"
    age_s = (report.now_ms - report.oldest_ms) / 1000
    return f"{', '.join(parts)}; the oldest since {tell_span(age_s)}"


def draw_sending(send: Health, now_ms: int) -> Iterator[str]:
    """Give what the sender has achieved."""
    counters = send.counters
    sent = f"{counters.get('uploads', 0)} receipts, {counters.get('failures', 0)} failures"
    yield draw_row("uploads", sent)
    last_ms = send.facts.last_receipt_ms
    text = f"{tell_span((now_ms - last_ms) / 1000)} ago" if last_ms else "none yet"
    yield draw_row("last receipt", text)


def draw_camera(watch: Health | None) -> Iterator[str]:
    """Give how the camera on the unit is, and what it lost."""
    if watch is None or watch.camera is None:
        return
    camera = watch.camera
    parts = [f"{camera.dropped_frames} frames dropped", f"{camera.stalls} stalls"]
    parts += [f"{camera.restarts} restarts"] if camera.restarts else []
    parts += [f"{camera.reopens} times opened again"] if camera.reopens else []
    yield draw_row("camera", ", ".join(parts))
    if camera.exposure_us:
        text = f"{camera.exposure_us} µs, gain {camera.gain:.1f}, {tell_light(camera)}"
        yield draw_row("exposure", text)


def tell_light(camera: CameraState) -> str:
    """Return day or night, and whether the light falls short."""
    if camera.is_night:
        return "night"
    return "at its ceiling: too dark" if camera.at_ceiling else "day"


def draw_unit(report: Report, told: Health | None) -> Iterator[str]:
    """Give temperature, power, clock and wear of the card."""
    unit = UnitState() if told is None or told.unit is None else told.unit
    if report.cpu_celsius is not None:
        yield draw_row("temperature", f"{report.cpu_celsius:.0f} °C")
    if unit.throttled_now or unit.throttled_before:
        now = ", ".join(unit.throttled_now) or "nothing now"
        yield draw_row("power", f"{now}; since the start: {', '.join(unit.throttled_before)}")
    if unit.clock.synchronised is not None:
        text = "synchronised" if unit.clock.synchronised else "not synchronised"
        error_ms = unit.clock.error_ms
        at_most = "" if error_ms is None else f", off by at most {error_ms} ms"
        yield draw_row("clock", f"{text}{at_most}")
    parts = [
        f"{name} {tell_bytes(count)} a day"
        for name, health in (("watcher", report.health["watch"]), ("sender", report.health["send"]))
        if health and health.unit and (count := health.unit.wear.own_bytes_a_day) is not None
    ]
    device = unit.wear.device_bytes_a_day
    if parts:  # the services have run for long enough that a rate says something
        parts += [] if device is None else [f"all {tell_bytes(device)} a day"]
        yield draw_row("written", ", ".join(parts))


def draw_policy(health: Health) -> str:
    """Return the line of the policy in force."""
    facts = health.facts
    text = f"version {facts.policy_version}, mode {facts.mode}, {facts.policy_hash[:16]}…"
    text = f"{text}, until {tell_instant(from_ms(facts.policy_expires_ms))}"
    if facts.policy_refusals:
        text = f"{text}; {facts.policy_refusals} refused, the last: {facts.last_refusal}"
    return draw_row("policy", text)


def tell_hotlist(watch: Health | None, now_ms: int) -> str:
    """Return what the watcher tells of the list in its memory."""
    if watch is None:
        return "not known: it is in the watcher's memory alone"
    facts = watch.facts
    refused = f"; refused: {facts.hotlist_refusal}" if facts.hotlist_refusal else ""
    if facts.hotlist_version is None:
        return f"none{refused}"
    age_s = (now_ms - (facts.hotlist_issued_ms or now_ms)) / 1000
    end = tell_instant(from_ms(facts.hotlist_expires_ms or 0))
    text = f"version {facts.hotlist_version}, {facts.hotlist_entries} entries"
    return f"{text}, {tell_span(age_s)} old, until {end}{refused}"

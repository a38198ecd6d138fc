"""`homeplate watch`: the watcher. Sees plates, has no network."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from agent import __version__
from agent.audit import AuditLog
from agent.base.clock import SystemClock, to_ms
from agent.base.gps import make_locator
from agent.base.health import CameraState, WatchCounters
from agent.base.health_file import HealthFile
from agent.base.heat import read_zone
from agent.base.log import set_up_logging
from agent.base.notify import Progress, find_manager
from agent.base.place import Locator, nowhere
from agent.base.settings import Settings, SheddingSettings
from agent.camera.patient import PatientCamera
from agent.camera.sources import is_on_unit, open_camera
from agent.cli.arrivals import load_service, log_arrivals
from agent.cli.lists import build_lists
from agent.cli.machine import IN_MEMORY, Machine
from agent.cli.models import Models, open_models
from agent.cli.policies import WatchedPolicies, renew_unit, require_models
from agent.cli.unit import (
    Unit,
    add_config,
    add_credentials,
    load_settings,
    refresh_policy,
    require_in_service,
    require_valid,
    stop_on_signal,
)
from agent.cli.vitals_watch import warn_at_end, watch_health
from agent.detect import Pace, Stillness
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.committing import CommitThread
from agent.pipeline.keeping import Keeping
from agent.pipeline.shedding import Shedding
from agent.pipeline.watch import Seeing, watch_forever
from agent.read import Ballots
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.track import Tracker
from agent.trust.entries import Boot

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_NS = 500_000_000
WAIT_SHARE = 0.05
"""Of the commit interval: how long a frame is waited for before the commit is looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    add_credentials(parser)
    parser.add_argument(
        "--progress",
        action="store_true",
        help="print the counters twice a second, one JSON object a line",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until the camera ends or a signal comes; print the counters at the end."""
    clock = SystemClock()
    settings = load_settings(args.config)
    require_in_service(settings)
    set_up_logging(level=settings.log_level)
    cv2.setNumThreads(settings.models.threads)
    models = open_models(settings.models, settings.detect)
    unit = load_service(
        args.config,
        "watch",
        clock,
        models_sha256=models.manifest_sha256,
        credentials=args.credentials,
    )
    unit, arrivals = refresh_policy(unit, clock)
    log_arrivals(unit, "watch", arrivals, clock)
    if not unit.keeper.is_behind:  # else nothing is kept until the newest policy is here
        require_valid(unit, clock=clock)
        require_models(unit, models.manifest_sha256)
    wait_s = settings.spool.commit_interval_s * WAIT_SHARE
    state = CameraState() if is_on_unit(settings.camera.source) else None
    bare = open_camera(settings, clock=clock, state=state)
    camera = PatientCamera(bare, wait_s=wait_s)
    keeping = build_keeping(unit, models.manifest_sha256, clock)
    warn_of_disk(unit.exchange, Machine())
    watchdog = Progress(find_manager(os.environ), clock)
    with ThreadPoolExecutor(max_workers=1) as executor:
        lists = build_lists(unit, keeping.clock, executor)
        health = watch_health(unit, keeping, lists, clock, state)
        watch_forever(
            camera,
            build_seeing(unit, models),
            keeping,
            stop=stop_on_signal(),
            report=make_report(health, watchdog, progress=args.progress),
            lists=lists,
            policies=WatchedPolicies(unit, lists, clock),
            commits=CommitThread(keeping, wait_s=wait_s),
            shedding=build_shedding(settings.shedding) if bare.is_live else None,
        )
    watchdog.end()
    health.remove()
    print_counters(keeping.counters)
    tell_end(keeping, unit.keeper.decision.policy.mode)
    return 0


def build_shedding(settings: SheddingSettings) -> Shedding | None:
    """Return what says which frames of a live camera are left out."""
    read_celsius = partial(read_zone, Path(settings.thermal_zone))
    return Shedding(settings, read_celsius=read_celsius) if settings.enabled else None


def warn_of_disk(exchange: Path, machine: Machine) -> None:
    """Say once that what is handed over would reach a disk: it should end with the power."""
    mount = machine.mount_of(exchange.resolve())
    if mount is not None and mount.kind not in IN_MEMORY:
        log.warning(
            "exchange folder is on a disk", extra={"place": str(exchange), "kind": mount.kind}
        )


def build_seeing(unit: Unit, models: Models) -> Seeing:
    """Return the stages up to a finished read."""
    renewal = renew_unit(unit)
    return Seeing(
        detector=models.detector,
        tracker=Tracker(unit.settings.track),
        reader=models.reader,
        ballots=Ballots(
            unit.settings.read,
            alphabet=models.reader.alphabet,
            keep_crops=renewal.keep_crops,
            certain_looks=renewal.certain_looks,
            threshold=models.reader.threshold,
        ),
        stillness=Stillness(unit.settings.detect) if unit.settings.detect.skip_motionless else None,
        pace=Pace(unit.settings.detect),
    )


def build_keeping(unit: Unit, model_sha256: bytes, clock: SystemClock) -> Keeping:
    """Return the stages from a finished read to the disk; the log says that they began."""
    settings, renewal = unit.settings, renew_unit(unit)
    origin = f"homeplate/{settings.unit}/watch"
    audit = AuditLog(unit.watch_audit, unit.load_signer("watch.key"), origin, clock)
    require_in_service(settings)  # again: from here on nobody retires it, the log is ours
    spool = SpoolWriter(unit.spool, renewal.segments, renewal.quota_bytes, unit.boot)
    spooled = SpoolReader(unit.spool)
    spool.recover(lambda found: adopt_leftovers(found, spooled, audit, clock))
    audit.append(
        Boot(
            at_ms=to_ms(clock.now()),
            boot=unit.boot,
            version=__version__,
            policy_hash=unit.policy_sha256,
            model_hash=model_sha256,
        )
    )
    audit.checkpoint()
    return Keeping(
        rules=renewal.rules,
        boot=unit.boot,
        sealer=Sealer(
            city_key=renewal.city_key,
            policy_sha256=renewal.policy_sha256,
            unit=settings.unit,
            boot=unit.boot,
            model_sha256=model_sha256,
            locate=choose_locator(settings),
        ),
        spool=spool,
        spooled=spooled,
        audit=audit,
        clock=clock,
    )


def choose_locator(settings: Settings) -> Locator:
    """Return what knows where a vehicle unit was; a unit on a pole needs no such thing."""
    if not settings.gps.track:
        return nowhere
    return make_locator(Path(settings.gps.track), max_age_s=settings.gps.max_age_s)


def make_report(
    health: HealthFile, watchdog: Progress, *, progress: bool
) -> Callable[[WatchCounters], None]:
    """Return a function that tells of the counters, and prints them at most twice a second.

    Only a frame more feeds the watchdog: a camera that gives none is a watcher that hangs.
    """
    told_ns = 0

    def report(counters: WatchCounters) -> None:
        nonlocal told_ns
        health.tell(counters.as_dict)
        if counters.frames:
            watchdog.note(counters.frames, lambda: tell_status(counters))
        now_ns = time.monotonic_ns()
        if progress and now_ns - told_ns >= PROGRESS_INTERVAL_NS:
            told_ns = now_ns
            print_counters(counters)

    return report


def tell_end(keeping: Keeping, mode: str) -> None:
    """Say in plain words, after the last counters, what a person should know of this watch."""
    has_list = bool(keeping.hotlist.version)
    for warning in warn_at_end(keeping.counters, mode=mode, has_list=has_list):
        print(f"homeplate: warning: {warning}", file=sys.stderr)


def tell_status(counters: WatchCounters) -> str:
    """Return one line for `systemctl status`."""
    return (
        f"{counters.frames} frames, {counters.passages} vehicles, "
        f"{counters.sealed} sealed, {counters.dropped} dropped"
    )


def print_counters(counters: WatchCounters) -> None:
    """Print the counters as one JSON object."""
    sys.stdout.write(json.dumps(counters.as_dict()) + "\n")
    sys.stdout.flush()

"""`homeplate watch`: the watcher. Sees plates, has no network."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import msgspec

from agent import __version__
from agent.audit import AuditLog
from agent.base.clock import SystemClock, to_ms
from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.base.health import WatchCounters
from agent.base.lanes import Lane
from agent.base.log import set_up_logging
from agent.base.settings import SpoolSettings
from agent.camera.sources import open_camera
from agent.cli.models import Models, open_models
from agent.cli.unit import Unit, add_config, load_unit, require_valid, stop_on_signal
from agent.gate import EMPTY_HOTLIST, GateRules, Hotlist, parse_hotlist
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.watch import Keeping, Rules, Seeing, watch_forever
from agent.read import CERTAIN_LOOKS, Ballots
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.track import Tracker
from agent.trust.entries import Boot
from agent.trust.policy import city_key, quota_bytes, retention_s

HOTLIST_LIMIT_BYTES = 64 * 1024 * 1024
PROGRESS_INTERVAL_NS = 500_000_000
SEGMENT_SHARE = 1 / 3
"""Of the shortest retention: how long a segment stays open at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--progress",
        action="store_true",
        help="print the counters twice a second, one JSON object a line",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until the camera ends or a signal comes; print the counters at the end."""
    clock = SystemClock()
    unit = load_unit(args.config)
    require_valid(unit, clock=clock)
    set_up_logging(level=unit.settings.log_level)
    hotlist = load_hotlist(unit)
    cv2.setNumThreads(unit.settings.models.threads)
    models = open_models(unit.settings.models, unit.settings.detect)
    camera = open_camera(unit.settings.camera, clock=clock)
    keeping = build_keeping(unit, hotlist, models.manifest_sha256, clock)
    watch_forever(
        camera,
        build_seeing(unit, models),
        keeping,
        stop=stop_on_signal(),
        report=make_report() if args.progress else lambda _: None,
    )
    print_counters(keeping.counters)
    return 0


def load_hotlist(unit: Unit) -> Hotlist:
    """Return the unit's hotlist, an empty one where the mode asks for none.

    Raises:
        ConfigError: The mode is hits-only and no hotlist is named, or the file is wrong.
    """
    if not unit.settings.hotlist:
        if unit.policy.mode == "hits-only":
            message = "settings: no hotlist, the policy's mode is hits-only; name one in `hotlist`"
            raise ConfigError(message)
        return EMPTY_HOTLIST
    path = Path(unit.settings.hotlist)
    return parse_hotlist(read_bounded(path, limit_bytes=HOTLIST_LIMIT_BYTES), place=str(path))


def build_seeing(unit: Unit, models: Models) -> Seeing:
    """Return the stages up to a finished read."""
    policy = unit.policy
    return Seeing(
        detector=models.detector,
        tracker=Tracker(unit.settings.track),
        reader=models.reader,
        ballots=Ballots(
            unit.settings.read,
            alphabet=models.reader.alphabet,
            keep_crops=policy.crops != "none",
            certain_looks=max(CERTAIN_LOOKS, policy.min_hit_frames),
        ),
    )


def build_keeping(unit: Unit, hotlist: Hotlist, model_sha256: bytes, clock: SystemClock) -> Keeping:
    """Return the stages from a finished read to the disk; the log says that they began."""
    policy, settings = unit.policy, unit.settings
    origin = f"homeplate/{settings.unit}/watch"
    audit = AuditLog(unit.watch_audit, unit.load_signer("watch.key"), origin, clock)
    limits = limit_segment_age(settings.spool, retention_s(policy))
    spool = SpoolWriter(unit.spool, limits, quota_bytes(policy), unit.boot)
    spool.recover(lambda found: adopt_leftovers(found, audit, clock))
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
        rules=Rules(
            gate=GateRules(
                mode=policy.mode,
                min_hit_confidence=policy.min_hit_confidence,
                min_hit_frames=policy.min_hit_frames,
            ),
            hotlist=hotlist,
            crops=policy.crops,
            retention_s=retention_s(policy),
            expires_at=policy.expires_at,
            commit_interval_s=settings.spool.commit_interval_s,
        ),
        boot=unit.boot,
        sealer=Sealer(
            city_key=city_key(policy),
            policy_sha256=unit.policy_sha256,
            unit=settings.unit,
            boot=unit.boot,
            model_sha256=model_sha256,
        ),
        spool=spool,
        spooled=SpoolReader(unit.spool),
        audit=audit,
        clock=clock,
    )


def limit_segment_age(settings: SpoolSettings, retention: Mapping[Lane, int]) -> SpoolSettings:
    """Return the settings with segments that close well within the shortest retention, in seconds.

    Only a closed segment can be deleted, so the operator's setting must not outlast the policy.
    """
    longest_s = min(retention.values()) * SEGMENT_SHARE
    limit_s = min(settings.segment_limit_s, longest_s)
    return msgspec.structs.replace(settings, segment_limit_s=limit_s)


def make_report() -> Callable[[WatchCounters], None]:
    """Return a function that prints the counters, at most twice a second."""
    told_ns = 0

    def report(counters: WatchCounters) -> None:
        nonlocal told_ns
        now_ns = time.monotonic_ns()
        if now_ns - told_ns >= PROGRESS_INTERVAL_NS:
            told_ns = now_ns
            print_counters(counters)

    return report


def print_counters(counters: WatchCounters) -> None:
    """Print the counters as one JSON object."""
    sys.stdout.write(json.dumps(counters.as_dict()) + "\n")
    sys.stdout.flush()

"""`homeplate bench video`: recorded video through the whole road of the watcher, measured."""

import argparse
import gc
import json
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.base.errors import ConfigError
from agent.base.memory import return_freed
from agent.cli.bench_baseline import compare_baseline, load_baseline, pick_figures
from agent.cli.bench_boards import read_heat, read_model
from agent.cli.bench_limits import check_limits, list_usual, load_limits
from agent.cli.bench_page import draw_page
from agent.cli.bench_report import Tree, describe_machine, make_report
from agent.cli.bench_road import Choices
from agent.cli.bench_run import Order, run_clip
from agent.cli.bench_table import draw_changes, draw_clip, draw_clips, draw_limits
from agent.cli.bench_truth import Vehicle, load_truth
from agent.cli.models import open_models

TRUTH: Final = ".truth.jsonl"
"""Stands in place of a clip's ending, in the folder given with --truth."""
LIMIT_BROKEN: Final = 1
"""Exit code."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this kind of bench."""
    parser.add_argument(
        "clips", nargs="+", metavar="CLIP", help="video file, or folder of pictures"
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="PATH",
        help=f"one JSON object a vehicle; for several clips a folder with NAME{TRUTH} of each",
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="at the pace it was recorded, with the watcher's threads; late frames are shed",
    )
    parser.add_argument(
        "--loop", type=float, metavar="MINUTES", help="begin the clip anew for so long"
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument("--vehicles", action="store_true", help="list every vehicle that was read")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page with charts there")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="compare with these figures")
    parser.add_argument(
        "--save-baseline", type=Path, metavar="FILE", help="keep the figures to compare with later"
    )
    parser.add_argument(
        "--limits", type=Path, metavar="FILE", help="exit 1 where a figure is beyond its limit"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the unit, for example detect.skip_motionless=false",
    )


def run(args: argparse.Namespace, *, root: Path = Path("/")) -> int:
    """Carry each clip along the road; print, draw and compare what it took.

    Args:
        args: Of the command.
        root: Where the files of the kernel begin.

    Raises:
        ConfigError: A setting, the baseline or the limits cannot be used.
        InputError: A clip or a truth cannot be used.
    """
    choices = parse_choices(args)
    baseline = load_baseline(args.baseline) if args.baseline else None
    limits = load_limits(args.limits) if args.limits else ()
    truths = [find_truth(args, clip) for clip in args.clips]
    reports = [
        measure(args, clip, truth, choices, root)
        for clip, truth in zip(args.clips, truths, strict=True)
    ]
    tree: Tree = {
        "machine": describe_machine(),
        "clips": reports,
        "compared": compare_baseline(reports, baseline) if baseline else [],
        "limits": check_limits(reports, list_usual(reports)) + check_limits(reports, limits),
    }
    write_files(args, tree)
    print_tables(args, tree)
    return LIMIT_BROKEN if any(not one["held"] for one in tree["limits"]) else 0


def measure(
    args: argparse.Namespace,
    clip: str,
    truth: tuple[Vehicle, ...] | None,
    choices: Choices,
    root: Path,
) -> Tree:
    """Return the figures of one clip; the memory of the one before is given back first."""
    gc.collect()
    return_freed()
    models = open_models(choices.models, choices.detect)
    order = Order(
        clip=clip,
        truth=truth,
        realtime=args.realtime,
        lores_width_px=args.lores_width,
        laps_s=60 * (args.loop or 0.0),
        max_frames=args.max_frames,
        choices=choices,
    )
    outcome = run_clip(order, models)
    return make_report(outcome, models.manifest, board=read_model(root), heat=read_heat(root))


def parse_choices(args: argparse.Namespace) -> Choices:
    """Return the settings that the command line asks for.

    Raises:
        ConfigError: One is no setting, or out of its range.
    """
    tree: dict[str, dict[str, Any]] = {
        "models": {"directory": args.models, "threads": args.threads},
        "detect": {} if args.threshold is None else {"threshold": args.threshold},
    }
    for pair in args.set:
        for section, values in parse_setting(pair).items():
            tree.setdefault(section, {}).update(values)
    try:
        return msgspec.convert(tree, Choices)
    except msgspec.ValidationError as error:
        message = f"--set {' '.join(args.set)}: {error}; expected settings as in the unit's file"
        raise ConfigError(message) from error


def parse_setting(pair: str) -> dict[str, dict[str, Any]]:
    """Return `section.name=value` as a tree.

    Raises:
        ConfigError: It is not written so.
    """
    key, _, value = pair.partition("=")
    for text in (value, json.dumps(value)):
        try:
            tree = tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
        if all(isinstance(values, dict) for values in tree.values()):
            return tree
    message = f"--set {pair}: found no section.name=value; expected detect.max_plates=8, say"
    raise ConfigError(message)


def find_truth(args: argparse.Namespace, clip: str) -> tuple[Vehicle, ...] | None:
    """Return the truth of a clip, None where nobody knows.

    Raises:
        ConfigError: One file is to be the truth of several clips.
        InputError: It cannot be read.
    """
    place: Path | None = args.truth
    if place is None:
        return None
    if place.is_dir():
        return load_truth(place / (Path(clip).stem + TRUTH))
    if len(args.clips) > 1:
        message = f"--truth {place}: found one file for {len(args.clips)} clips; expected a folder"
        raise ConfigError(message)
    return load_truth(place)


def write_files(args: argparse.Namespace, tree: Tree) -> None:
    """Write what is asked for."""
    if args.json:
        args.json.write_text(json.dumps(tree, indent=1) + "\n")
    if args.html:
        args.html.write_text(draw_page(tree), encoding="utf-8")
    if args.save_baseline:
        args.save_baseline.write_text(json.dumps(pick_figures(tree["clips"]), indent=1) + "\n")


def print_tables(args: argparse.Namespace, tree: Tree) -> None:
    """Print the figures for people."""
    blocks = [draw_clip(one, with_reads=args.vehicles) for one in tree["clips"]]
    if len(blocks) > 1:
        blocks.append(draw_clips(tree["clips"]))
    if tree["compared"]:
        blocks.append(draw_changes(tree["compared"]))
    if tree["limits"]:
        blocks.append(draw_limits(tree["limits"]))
    sys.stdout.write("\n\n".join(blocks) + "\n")

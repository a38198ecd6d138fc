"""`python -m models.evaluate DATA`: measure, then write report.json and report.html."""

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import onnxruntime

from agent.base.errors import HomeplateError, InputError
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli.models import Models, find_folder, open_models
from models.evaluate import progress
from models.evaluate.clips import list_clips, measure_clip
from models.evaluate.flops import count_work
from models.evaluate.page import draw_page
from models.evaluate.peers import PEER, PEER_CPU_MS
from models.evaluate.sets import SetResult, find_sources, measure_set, warn_seen
from models.evaluate.summary import (
    Tree,
    summarise_axis,
    summarise_clip,
    summarise_outcomes,
    summarise_set,
)
from models.evaluate.sweep import AXES, measure_axis, measure_held_back

Item = TypeVar("Item")

OWN_CLIPS = Path(__file__).resolve().parents[2] / "tests" / "data"
EPILOG = """The pictures stay where they are. Neither file holds a picture, or the text of a plate
that was photographed, unless --with-plates asks for the texts of wrong reads."""


def parse_arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluate",
        description="Measure both networks along the agent's own road.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with index.csv and pictures"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("evaluation"), metavar="FOLDER", help="for the report"
    )
    parser.add_argument("--models", default="", metavar="FOLDER", help="folder of manifest.toml")
    parser.add_argument(
        "--datasets", default="", metavar="A,B", help="only these (default: those for validation)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N pictures of each set")
    parser.add_argument(
        "--sweep", type=int, default=60, metavar="N", help="rendered vehicles a point (0: none)"
    )
    parser.add_argument(
        "--held-back", type=int, default=1000, metavar="N", help="rendered plates for reliability"
    )
    parser.add_argument(
        "--truth", type=Path, metavar="FOLDER", help="CLIP.truth.jsonl of clips in DATA/video"
    )
    parser.add_argument("--no-clips", action="store_true", help="leave the recorded clips out")
    parser.add_argument(
        "--with-plates",
        action="store_true",
        help="write the texts of wrong reads into the report: personal data, keep it to yourself",
    )
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure and write; print where the report is."""
    args = parse_arguments(given)
    try:
        return run(args)
    except HomeplateError as error:
        sys.stderr.write(f"models.evaluate: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def run(args: argparse.Namespace) -> int:
    """Measure all that was asked for.

    Raises:
        InputError: Pictures, a clip or the folder for the report cannot be used.
        ConfigError: The models are missing.
        IntegrityError: They are not those of the manifest.
    """
    began_s = time.monotonic()
    cv2.setNumThreads(1)
    wanted = tuple(name for name in args.datasets.split(",") if name)
    sources = find_sources(args.data, wanted, limit=args.limit)
    make_folder(args.out)
    models = open_models(ModelSettings(directory=args.models), DetectSettings())
    tree = describe_run(find_folder(args.models), models)
    results = []
    for source in sources:
        warn_seen(source)
        results.append(
            measure_set(args.data, source, models, track=show, keep_texts=args.with_plates)
        )
    threshold = models.reader.threshold
    tree["sets"] = {one.name: summarise_set(one, threshold=threshold) for one in results}
    tree |= measure_rendered(args, models)
    clips = () if args.no_clips else list_clips((OWN_CLIPS, args.data / "video"))
    tree["clips"] = {
        path.stem: summarise_clip(measure_clip(path, models, truths=args.truth)) for path in clips
    }
    if args.with_plates:
        tree["wrong_reads"] = list_wrong(results)
    tree["seconds"] = round(time.monotonic() - began_s)
    write_report(args.out, tree)
    print(draw_table(tree))
    print(f"{args.out / 'report.html'}\n{args.out / 'report.json'}")
    return 0


def show(items: Iterable[Item], total: int | None, name: str) -> Iterator[Item]:
    """Give the items behind a progress bar."""
    return progress.track(items, total=total, name=name)


def make_folder(folder: Path) -> None:
    """Make the folder of the report before the work begins.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: cannot be made ({error.strerror}); expected a folder for the report"
        raise InputError(message) from error


def describe_run(folder: Path, models: Models) -> Tree:
    """Return what was measured, where and when."""
    manifest = models.manifest
    size = (1, 1, manifest.detector.input_height_px, manifest.detector.input_width_px)
    width, height = manifest.reader.size_px
    networks = {}
    for name, spec, shape in (
        ("detector", manifest.detector, size),
        ("reader", manifest.reader, (1, 1, height, width)),
    ):
        work = count_work(folder / spec.file, shape)
        networks[name] = {
            "version": spec.version,
            "sha256": spec.sha256,
            "input": list(work.shape),
            "gflop": round(work.gflop, 4),
            "gmac": round(work.gmac, 4),
            "file_bytes": work.file_bytes,
        }
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "networks": networks,
        "temperature": models.reader.temperature,
        "threshold": models.reader.threshold,
        "peer": {"name": PEER, "cpu_ms": PEER_CPU_MS},
        "machine": f"{platform.machine()}, {platform.system()}, one thread",
        "versions": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
    }


def measure_rendered(args: argparse.Namespace, models: Models) -> Tree:
    """Return the sweep and the reliability on rendered plates."""
    tree: Tree = {"sweep": {}, "held_back": None}
    if args.held_back:
        outcomes = measure_held_back(models, plates=args.held_back, track=show)
        tree["held_back"] = summarise_outcomes(outcomes, threshold=models.reader.threshold)
    if args.sweep:
        tree["sweep_plates"] = args.sweep
        tree["sweep"] = {
            axis.name: summarise_axis(
                axis, measure_axis(axis, models, plates=args.sweep, track=show)
            )
            for axis in AXES
        }
    return tree


def list_wrong(results: list[SetResult]) -> Tree:
    """Return the texts of wrong reads by set: only where they were asked for."""
    return {
        result.name: [
            {"true": one.private[0], "read": one.private[1], "answered": not one.abstained}
            for one in result.outcomes
            if any(one.private)
        ]
        for result in results
    }


def write_report(folder: Path, tree: Tree) -> None:
    """Write both files.

    Raises:
        InputError: The folder cannot be written to.
    """
    try:
        (folder / "report.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(draw_page(tree), encoding="utf-8")
    except OSError as error:
        message = f"{folder}: cannot be written ({error.strerror}); expected a folder of yours"
        raise InputError(message) from error


def draw_table(tree: Tree) -> str:
    """Return the sets as a table for the terminal."""
    names = ("strict %", "folded %", "found %", "wrong %", "abstained %", "cpu ms")
    lines = [f"{'set':<20}{'plates':>8}" + "".join(f"{name:>13}" for name in names)]
    for name, one in tree["sets"].items():
        if "strict" not in one:
            empty = one["without_plates"]
            lines.append(
                f"{name:<20}{'none':>8}  {empty['pictures_with_reads']} of {empty['pictures']} "
                f"pictures with a false read, {one['cpu_ms']['median']} ms"
            )
            continue
        cells = [one[key]["percent"] for key in ("strict", "folded", "found", "wrong", "abstained")]
        if one["reader_alone"]:
            cells[2] = None
        shown = "".join(f"{'-' if cell is None else f'{cell:.1f}':>13}" for cell in cells)
        lines.append(f"{name:<20}{one['plates']:>8}{shown}{one['cpu_ms']['median']:>13.2f}")
    return "\n".join(lines)

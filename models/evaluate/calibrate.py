"""Temperature and threshold of the reader, from rendered plates that were never trained on.

    python -m models.evaluate.calibrate [--plates 2000] [--dry-run]

Run it after every export of a network: it writes `temperature` and `threshold` into the [reader]
table of manifest.toml. No real picture takes part.

The temperature is the one of the least log loss of the characters' confidences (after Guo et al.,
"On calibration of modern neural networks", 2017), found on every second plate and kept only where
it helps on the others too. The threshold is the lowest at which abstaining leaves a fifth of the
wrong guesses. Both are steps of a coarse grid, so that a repeated run gives the same.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.base.errors import HomeplateError, InputError
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli.bench_index import Label, find_nearest
from agent.cli.models import MANIFEST_NAME, Models, find_folder, open_models
from agent.detect import detect_plates
from agent.read import look_at
from agent.vision.decode import SMALLEST, Slots, collapse_columns, measure_surety, normalise
from agent.vision.looks import (
    ALONE,
    CENTRED_LOOKS,
    SECOND_LOOKS,
    centre_corners,
)
from agent.vision.patterns import Patterns, weigh_patterns
from agent.vision.voting import count_votes, merge_looks, pick_slots, pick_surer
from models.evaluate.figures import bin_reliability, choose_threshold, measure_gap, operate
from models.evaluate.outcomes import (
    Flags,
    Floats,
    Outcome,
    flag_characters,
    gather_characters,
    gather_plates,
)
from models.evaluate.panels import plot_reliability
from models.evaluate.progress import track
from models.evaluate.rendered import Shot
from models.evaluate.sets import view_frame
from models.evaluate.style import frame_drawing
from models.evaluate.summary import summarise_confidence
from models.evaluate.sweep import HELD_BACK, shoot_held_back

TEMPERATURES = np.arange(0.5, 3.01, 0.05)
OWN_TABLE = re.compile(r"^\[reader\]\n(?:(?!\[).*\n?)*", re.MULTILINE)
FEWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the reader said of one plate, and what stood there."""

    columns: NDArray[np.float32]
    """(L, T, C) log-probabilities of the first look and the second ones; no look (0, T, C) where
    the plate was not found."""
    centred: NDArray[np.float32]
    """(L, T, C) of the looks with corners drawn in to the characters; none where needless."""
    text: str


def look_closely(shot: Shot, models: Models) -> Sight:
    """Return the reader's columns for the plate of a rendered picture."""
    corners = detect_plates(view_frame(shot.gray), models.detector).corners
    row = find_nearest(Label(corners=shot.corners, text=shot.text), corners)
    if row is None:
        nothing = np.zeros((0, 1, len(models.reader.alphabet) + 1), np.float32)
        return Sight(columns=nothing, centred=nothing, text=shot.text)
    reader = replace(models.reader, temperature=1.0)
    corners = corners[row : row + 1]
    looks = look_at(shot.gray, corners, reader, ((0.0, 0.0), *SECOND_LOOKS))
    _, quads = centre_corners(looks[:1], corners, margin_x=reader.margin[0])
    centred = look_at(shot.gray, quads, reader, CENTRED_LOOKS)
    return Sight(columns=looks, centred=centred, text=shot.text)


def judge_sights(
    sights: Sequence[Sight],
    *,
    temperature: float,
    alphabet: str,
    patterns: Patterns | None = None,
) -> tuple[Outcome, ...]:
    """Return the outcomes that the road would give at another temperature."""
    return tuple(_judge(sight, temperature, alphabet, patterns) for sight in sights)


def _judge(sight: Sight, temperature: float, alphabet: str, patterns: Patterns | None) -> Outcome:
    """Return one outcome."""
    if not len(sight.columns):
        return Outcome(known=True, found=False)
    looks = _collapse(sight.columns, temperature)
    slots = pick_slots(looks, np.array([0]))
    if measure_surety(slots)[0] < ALONE.below:
        slots = merge_looks(looks, len(sight.columns))
    if measure_surety(slots)[0] < ALONE.below and len(sight.centred):
        closer = _collapse(sight.centred, temperature)
        slots = pick_surer(slots, merge_looks(closer, len(sight.centred)))
    if patterns is not None:
        slots = weigh_patterns(slots, patterns)
    vote = count_votes(slots, alphabet=alphabet)
    return Outcome(
        known=True,
        found=True,
        strict=vote.characters == sight.text,
        confidence=vote.confidence,
        confidences=vote.confidences,
        right=flag_characters(sight.text, vote),
    )


def _collapse(columns: NDArray[np.float32], temperature: float) -> Slots:
    """Return each look of (L, T, C) columns at a temperature."""
    return collapse_columns(normalise(columns / np.float32(temperature)))


def measure_surprise(
    sights: Sequence[Sight],
    *,
    temperature: float,
    alphabet: str,
    patterns: Patterns | None = None,
) -> float:
    """Return the mean log loss of the characters' confidences, as the road gives them.

    Second looks take part: their mean is less sure than a single look, and a temperature that was
    fitted to first looks alone made it too modest.
    """
    outcomes = judge_sights(sights, temperature=temperature, alphabet=alphabet, patterns=patterns)
    sure, right = gather_characters(outcomes)
    if not len(sure):
        return 0.0
    chances = np.clip(np.where(right, sure, 1 - sure), SMALLEST, 1.0)
    return float(-np.log(chances).mean())


def choose_temperature(
    sights: Sequence[Sight], *, alphabet: str, patterns: Patterns | None = None
) -> float:
    """Return the temperature of the least surprise; 1 where it does not help on other plates."""
    fit, check = sights[::2], sights[1::2]
    losses = [
        measure_surprise(fit, temperature=float(one), alphabet=alphabet, patterns=patterns)
        for one in TEMPERATURES
    ]
    best = round(float(TEMPERATURES[int(np.argmin(losses))]), 2)
    before = measure_surprise(check, temperature=1.0, alphabet=alphabet, patterns=patterns)
    after = measure_surprise(check, temperature=best, alphabet=alphabet, patterns=patterns)
    return best if after < before else 1.0


def gather_found(outcomes: tuple[Outcome, ...]) -> tuple[Floats, Flags]:
    """Return confidence and truth of the plates of which something was read."""
    return gather_plates(tuple(one for one in outcomes if one.confidences))


def describe(name: str, outcomes: tuple[Outcome, ...], *, threshold: float) -> str:
    """Return one line: how far confidence is from the truth, and what the threshold does."""
    characters = measure_gap(bin_reliability(*gather_characters(outcomes)))
    sure, right = gather_plates(outcomes)
    plates = measure_gap(bin_reliability(sure, right))
    point = operate(sure, right, threshold=threshold)
    return (
        f"{name}: characters {characters:.2f} points off, plates {plates:.2f}; at {threshold:g} "
        f"{point.answered.percent or 0:.1f} % answered, {point.right.percent or 0:.1f} % right, "
        f"{point.wrong.percent or 0:.2f} % wrong (without: {100 * right.mean():.1f} % right)"
    )


def write_values(manifest: Path, *, temperature: float, threshold: float) -> None:
    """Put both values into the [reader] table; all else stays as it is.

    Raises:
        InputError: There is no such table, or the file cannot be written.
    """
    text = manifest.read_text(encoding="utf-8")
    found = OWN_TABLE.search(text)
    if found is None:
        message = f"{manifest}: found no table [reader]; expected the manifest of an export"
        raise InputError(message)
    kept = re.sub(r"^(temperature|threshold) = .*\n", "", found[0], flags=re.MULTILINE).rstrip("\n")
    table = f"{kept}\ntemperature = {temperature:g}\nthreshold = {threshold:g}\n"
    rest = text[found.end() :]
    try:
        manifest.write_text(
            text[: found.start()] + table + ("\n" if rest else "") + rest, encoding="utf-8"
        )
    except OSError as error:
        message = f"{manifest}: cannot be written ({error.strerror}); expected a file of yours"
        raise InputError(message) from error


def gather_sights(models: Models, plates: int) -> Iterator[Sight]:
    """Give the sights of the held-back plates behind a progress bar."""
    numbers: Iterable[int] = range(HELD_BACK, HELD_BACK + plates)
    for number in track(numbers, total=plates, name="held-back rendered plates"):
        yield look_closely(shoot_held_back(number), models)


def run(args: argparse.Namespace) -> int:
    """Measure, choose, write.

    Raises:
        InputError: Too few plates, or no manifest to write to.
    """
    if args.plates < FEWEST:
        message = f"--plates: found {args.plates}; expected at least {FEWEST}"
        raise InputError(message)
    cv2.setNumThreads(1)
    models = open_models(ModelSettings(directory=args.models), DetectSettings())
    sights = tuple(gather_sights(models, args.plates))
    alphabet, patterns = models.reader.alphabet, models.reader.patterns
    temperature = choose_temperature(sights, alphabet=alphabet, patterns=patterns)
    outcomes = judge_sights(sights, temperature=temperature, alphabet=alphabet, patterns=patterns)
    threshold = choose_threshold(*gather_found(outcomes))
    plain = judge_sights(sights, temperature=1.0, alphabet=alphabet, patterns=patterns)
    print(describe("temperature 1", plain, threshold=threshold))
    print(describe(f"temperature {temperature:g}", outcomes, threshold=threshold))
    if args.diagram:
        tree = summarise_confidence(outcomes, threshold=threshold)
        args.diagram.write_text(frame_drawing(plot_reliability(tree["plates"])), encoding="utf-8")
    if args.dry_run:
        print("nothing written (--dry-run)")
        return 0
    manifest = find_folder(args.models) / MANIFEST_NAME
    write_values(manifest, temperature=temperature, threshold=threshold)
    print(f"{manifest}: temperature = {temperature:g}, threshold = {threshold:g}")
    return 0


def main(given: Sequence[str] | None = None) -> int:
    """Calibrate from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.evaluate.calibrate", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--models", default="", metavar="FOLDER", help="folder of manifest.toml")
    parser.add_argument("--plates", type=int, default=2000, metavar="N", help="rendered plates")
    parser.add_argument("--diagram", type=Path, metavar="SVG", help="also draw the reliability")
    parser.add_argument("--dry-run", action="store_true", help="measure, write nothing")
    try:
        return run(parser.parse_args(given))
    except HomeplateError as error:
        sys.stderr.write(f"models.evaluate.calibrate: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())

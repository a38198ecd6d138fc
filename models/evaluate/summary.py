"""All results as one tree of plain values: what the JSON file holds and the page is drawn from."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from models.evaluate.clips import ClipResult
from models.evaluate.figures import (
    Bin,
    Operating,
    bin_reliability,
    count_share,
    measure_gap,
    operate,
    trace_thresholds,
)
from models.evaluate.outcomes import Outcome, gather_characters, gather_plates
from models.evaluate.peers import GOALS, NOTHING, PEERS
from models.evaluate.sets import SetResult
from models.evaluate.sweep import Axis, Point

Tree = dict[str, Any]


def summarise_set(result: SetResult, *, threshold: float) -> Tree:
    """Return all figures of one set.

    Args:
        result: What the road made of it.
        threshold: Of the reader, for the curve's mark.
    """
    tree: Tree = {
        "use": result.use,
        "pictures": result.pictures,
        "reader_alone": result.crops,
        "cpu_ms": summarise_times(result.cpu_ms),
        "without_plates": {
            "pictures": result.empty,
            "reads": result.false_reads,
            "pictures_with_reads": result.false_pictures,
        },
        "other_finds_per_picture": round(result.others / max(result.pictures, 1), 3),
        "peer": asdict(PEERS.get(result.name, NOTHING)),
        "goal": asdict(GOALS.get(result.name, NOTHING)),
    }
    if result.outcomes:
        tree |= summarise_outcomes(result.outcomes, threshold=threshold)
    return tree


def summarise_outcomes(outcomes: tuple[Outcome, ...], *, threshold: float) -> Tree:
    """Return accuracy, confidence, corners and confusions; shares of plates whose text is known."""
    known = [one for one in outcomes if one.known]
    errors = [100 * one.corner_error for one in outcomes if one.corner_error is not None]
    return {
        "found": share_of(outcomes, "found"),
        "plates": len(known),
        "strict": share_of(known, "strict"),
        "folded": share_of(known, "folded"),
        "wrong": share_of(known, "wrong"),
        "abstained": share_of(known, "abstained"),
        "corner_error_percent": summarise_errors(errors),
        "confusions": count_confusions(known),
        "confidence": summarise_confidence(outcomes, threshold=threshold),
    }


def share_of(outcomes: Iterable[Outcome], flag: str) -> Tree:
    """Return the share of the outcomes whose field `flag` is true."""
    return count_share(np.array([getattr(one, flag) for one in outcomes], np.bool_)).as_dict()


def summarise_times(cpu_ms: tuple[float, ...]) -> Tree:
    """Return the median and the 90th percentile of CPU milliseconds a picture."""
    middle, high = np.percentile(cpu_ms or (0.0,), [50, 90]).round(2).tolist()
    return {"median": middle, "p90": high}


def summarise_errors(errors: list[float]) -> Tree | None:
    """Return the median and the 90th percentile; None without any."""
    if not errors:
        return None
    middle, high = np.percentile(errors, [50, 90]).round(2).tolist()
    return {"median": middle, "p90": high, "plates": len(errors)}


def count_confusions(outcomes: list[Outcome]) -> list[Tree]:
    """Return how often which character was read as which, most frequent first."""
    counts = Counter(pair for one in outcomes for pair in one.confusions)
    return [
        {"true": true, "read": read, "count": count}
        for (true, read), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def summarise_confidence(outcomes: tuple[Outcome, ...], *, threshold: float) -> Tree:
    """Return reliability of characters and plates, and what thresholds do."""
    tree: Tree = {}
    for name, (sure, right) in (
        ("characters", gather_characters(outcomes)),
        ("plates", gather_plates(outcomes)),
    ):
        bins = bin_reliability(sure, right)
        tree[name] = {
            "calibration_error_points": round(measure_gap(bins), 2),
            "bins": [describe_bin(one) for one in bins],
        }
    sure, right = gather_plates(outcomes)
    tree["chosen"] = describe_operating(operate(sure, right, threshold=threshold))
    tree["thresholds"] = [describe_operating(one) for one in trace_thresholds(sure, right)]
    return tree


def describe_bin(one: Bin) -> Tree:
    """Return one range of confidence for the JSON file."""
    return {
        "low": one.low,
        "high": one.high,
        "confidence": round(one.confidence, 4),
        "right": one.right.as_dict(),
    }


def describe_operating(one: Operating) -> Tree:
    """Return one threshold for the JSON file."""
    return {
        "threshold": one.threshold,
        "answered": one.answered.as_dict(),
        "right": one.right.as_dict(),
        "wrong": one.wrong.as_dict(),
    }


def summarise_axis(axis: Axis, points: tuple[Point, ...]) -> Tree:
    """Return one axis of the sweep."""
    return {
        "unit": axis.unit,
        "points": [
            {
                "value": point.value,
                "found": point.found.as_dict(),
                "right": point.right.as_dict(),
                "answered": point.answered.as_dict(),
                "wrong": point.wrong.as_dict(),
                "corner_error_percent": None
                if point.corner_error is None
                else round(100 * point.corner_error, 2),
            }
            for point in points
        ],
    }


def summarise_clip(clip: ClipResult) -> Tree:
    """Return the counts of one clip; texts of missed vehicles stay out."""
    tree: Tree = {
        "frames": clip.frames,
        "vehicles_read": clip.reads,
        "answered": clip.answered,
        "crops": clip.crops,
        "cpu_ms_per_frame": round(clip.cpu_ms, 2),
        "network_cpu_ms_per_frame": round(clip.network_ms, 2),
        "truth": None,
    }
    if clip.compared is not None:
        tree["truth"] = {
            "vehicles": clip.compared.vehicles,
            "right": clip.compared.right,
            "right_guess": clip.compared.right_guess,
            "wrong": clip.compared.wrong,
            "abstained": clip.compared.abstained,
            "repeated": clip.compared.repeated,
        }
    return tree

"""The road on rendered pictures: one condition changed at a time, and all drawn at random."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from agent.cli.bench_images import look_at
from agent.cli.bench_index import Label, Picture
from agent.cli.models import Models
from models.evaluate.figures import Share, count_share
from models.evaluate.outcomes import Outcome, judge
from models.evaluate.rendered import (
    Condition,
    Shot,
    draw_condition,
    make_subject,
    take_picture,
    vary,
)
from models.evaluate.sets import LORES_WIDTH_PX

SWEPT = Condition()
HELD_BACK = 1_000_000
"""Vehicles from this number on are for calibration, those below for the sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One condition and the values it takes; all else stays as in `SWEPT`."""

    name: str
    field: str
    unit: str
    values: tuple[float, ...]


AXES = (
    Axis(name="plate width", field="width_px", unit="pixels",
         values=(24, 32, 40, 50, 60, 80, 120, 180, 260)),
    Axis(name="blur", field="blur_px", unit="pixels (deviation), plate 120 wide",
         values=(0, 1, 2, 3, 4, 5, 6)),
    Axis(name="movement", field="motion_px", unit="pixels (length), plate 120 wide",
         values=(0, 3, 6, 9, 12, 16)),
    Axis(name="yaw", field="yaw_deg", unit="degrees", values=(0, 15, 30, 40, 50, 60)),
    Axis(name="pitch", field="pitch_deg", unit="degrees", values=(2, 10, 20, 30, 40)),
    Axis(name="roll", field="roll_deg", unit="degrees", values=(0, 5, 10, 15, 20, 25)),
    Axis(name="light", field="light", unit="share of full exposure",
         values=(0.03, 0.06, 0.12, 0.25, 0.5, 1, 1.5, 2.5)),
    Axis(name="noise", field="noise", unit="grey levels (deviation)",
         values=(0, 5, 10, 20, 30, 40)),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """All vehicles under one condition."""

    value: float
    found: Share
    right: Share
    """Best guess, also where the agent would abstain."""
    answered: Share
    wrong: Share
    """Answered and not the text."""
    corner_error: float | None
    """Median of the plates found, in shares of the width."""


Track = Callable[[Iterable[int], int, str], Iterator[int]]


def measure_axis(axis: Axis, models: Models, *, plates: int, track: Track) -> tuple[Point, ...]:
    """Return one point a value; every point shows the same vehicles."""
    rows: list[list[Outcome]] = [[] for _ in axis.values]
    for number in track(range(plates), plates, f"sweep: {axis.name}"):
        subject = make_subject(number, worn=False)
        for row, value in zip(rows, axis.values, strict=True):
            shot = take_picture(subject, vary(SWEPT, axis.field, value))
            row.append(look_at_shot(shot, models))
    return tuple(sum_up(value, tuple(row)) for value, row in zip(axis.values, rows, strict=True))


def measure_held_back(
    models: Models, *, plates: int, track: Track, first: int = HELD_BACK
) -> tuple[Outcome, ...]:
    """Return the outcomes of vehicles under random conditions; none was ever trained on."""
    return tuple(
        look_at_shot(shoot_held_back(first + number), models)
        for number in track(range(plates), plates, "held-back rendered plates")
    )


def shoot_held_back(number: int) -> Shot:
    """Return the picture number `number` of those that were never trained on."""
    condition = draw_condition(np.random.default_rng((0xCA1, number)))
    return take_picture(make_subject(number, worn=True), condition)


def look_at_shot(shot: Shot, models: Models) -> Outcome:
    """Return what the road says of a rendered picture."""
    label = Label(corners=shot.corners, text=shot.text)
    picture = Picture(path="", dataset="", labels=(label,))
    look = look_at(shot.gray, picture, models, lores_width_px=LORES_WIDTH_PX)
    return judge(look, label, exact=True, keep_texts=False)


def sum_up(value: float, outcomes: tuple[Outcome, ...]) -> Point:
    """Return the point of one condition."""
    errors = [one.corner_error for one in outcomes if one.corner_error is not None]
    return Point(
        value=value,
        found=count_share(np.array([one.found for one in outcomes], np.bool_)),
        right=count_share(np.array([one.strict for one in outcomes], np.bool_)),
        answered=count_share(np.array([not one.abstained for one in outcomes], np.bool_)),
        wrong=count_share(np.array([one.wrong for one in outcomes], np.bool_)),
        corner_error=float(np.median(errors)) if errors else None,
    )

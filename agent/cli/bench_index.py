"""The index of labelled pictures that `bench images` goes through, and what counts as right."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.base.errors import InputError

CORNER_COLUMNS = tuple(f"{axis}{number}" for number in (1, 2, 3, 4) for axis in "xy")
WHOLE_PICTURE = 0.98
"""A label that covers this share of both sides says: the picture is the plate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One plate of a picture."""

    corners: NDArray[np.float32]
    """(4, 2) top left, top right, bottom right, bottom left; maybe those of an upright box."""
    text: str = field(repr=False)
    """A-Z and 0-9; empty where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of the index."""

    path: str
    dataset: str
    labels: tuple[Label, ...]


def load_index(path: Path, *, datasets: frozenset[str]) -> tuple[Picture, ...]:
    """Return the pictures of an index, in the order of their first rows.

    Args:
        path: CSV with the columns path, x1, y1 … x4, y4, text and, if wanted, dataset; others are
            ignored. A row without corners is a picture without plates.
        datasets: Names of those to take; empty = all.

    Raises:
        InputError: The file is missing, lacks a column, holds no such row, or a number is none.
    """
    rows = read_rows(path)
    taken = [row for row in rows if not datasets or row.get("dataset") in datasets]
    if not taken:
        found = ", ".join(sorted({row.get("dataset") or "" for row in rows})) or "no row"
        message = f"{path}: found {found}; expected rows of {', '.join(sorted(datasets)) or 'any'}"
        raise InputError(message)
    return tuple(group_rows(taken, place=str(path)))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with the column `path`.

    Raises:
        InputError: It is missing, no UTF-8 text or lacks the column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path}: cannot be read ({error}); expected a CSV index of pictures"
        raise InputError(message) from error
    columns = table.fieldnames or ()
    if "path" not in columns:
        message = f"{path}: found the columns {', '.join(columns)}; expected path, x1 … y4, text"
        raise InputError(message)
    return rows


def group_rows(rows: list[dict[str, str]], *, place: str) -> Iterable[Picture]:
    """Give one picture for all rows with the same path."""
    grouped: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        grouped.setdefault(row["path"], []).append(row)
    for path, group in grouped.items():
        labels = (read_label(row, place=place) for row in group)
        yield Picture(
            path=path,
            dataset=group[0].get("dataset") or "",
            labels=tuple(label for label in labels if label is not None),
        )


def read_label(row: dict[str, str], *, place: str) -> Label | None:
    """Return the plate of a row, or None where it has no corners.

    Raises:
        InputError: Some corners are missing or no numbers.
    """
    given = [row.get(column) or "" for column in CORNER_COLUMNS]
    if not any(given):
        return None
    try:
        corners = np.array([float(number) for number in given], np.float32).reshape(4, 2)
    except ValueError as error:
        message = f"{place}: {row['path']}: found corners {given}; expected eight numbers"
        raise InputError(message) from error
    return Label(corners=corners, text=(row.get("text") or "").upper())


def is_whole_picture(label: Label, *, width_px: int, height_px: int) -> bool:
    """Tell whether a picture shows nothing but the plate."""
    span = np.ptp(label.corners, axis=0)
    return bool((span >= np.array([width_px, height_px]) * WHOLE_PICTURE).all())


def find_nearest(label: Label, corners: NDArray[np.float32]) -> int | None:
    """Return which of `corners` (N, 4, 2) lies nearest to the middle of the labelled box.

    None, where no plate's centre lies in the box: boxes are good to a tenth, so overlap is no
    measure.
    """
    if not len(corners):
        return None
    low, high = label.corners.min(axis=0), label.corners.max(axis=0)
    centres = corners.mean(axis=1)
    inside = ((centres >= low) & (centres <= high)).all(axis=1)
    way = np.where(inside, np.linalg.norm(centres - (low + high) / 2, axis=1), np.inf)
    return int(way.argmin()) if inside.any() else None

"""Points, lines and polygons of the settings: refused where they would not mean what they show."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

Point = tuple[float, float]
Points = Sequence[Point]
Edge = tuple[Point, Point]
SMALLEST_AREA: Final = 1e-5
"""Of the picture: about 3 by 3 pixels of 1280 by 720. A polygon of less was typed wrongly."""
ROUNDING: Final = 1e-12
"""Of a product of two shares: what is smaller is nought, but for how the numbers are kept."""
SHORTEST: Final = 0.005
"""Of the picture's width or height: a lane cannot be narrower."""


def check_polygon(points: Points, *, place: str) -> None:
    """Refuse a polygon that covers nothing, or crosses or touches itself: it would hide less.

    It is filled even-odd: what a polygon runs round twice would not be hidden at all.

    Raises:
        ValueError: It does; the message names the place.
    """
    if abs(measure_area(points)) < SMALLEST_AREA:
        message = f"{place}: covers nothing; expected corners in shares of the picture, in order"
        raise ValueError(message)
    if len(set(points)) < len(points):
        message = f"{place}: a corner appears twice; give each once, also the first"
        raise ValueError(message)
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    if any(_meet(*one, *other) for one, other in _apart(edges)):
        message = f"{place}: crosses or touches itself; give its corners in order around it"
        raise ValueError(message)


def check_line(start: tuple[float, float], end: tuple[float, float], *, place: str) -> None:
    """Refuse a line without length.

    Raises:
        ValueError: It has none.
    """
    if max(abs(start[0] - end[0]), abs(start[1] - end[1])) < SHORTEST:
        message = f"{place}: are the same place; expected both edges of the lane"
        raise ValueError(message)


def measure_area(points: Points) -> float:
    """Return the area with its sign (shoelace formula); the corners run around it."""
    following = [*points[1:], points[0]]
    pairs = zip(points, following, strict=True)
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs) / 2


def _apart(edges: Sequence[Edge]) -> Iterator[tuple[Edge, Edge]]:
    """Yield the pairs of edges that share no corner.

    Where an edge runs back over the one before it, the one after it touches that.
    """
    for first, second in combinations(range(len(edges)), 2):
        if second - first not in {1, len(edges) - 1}:
            yield edges[first], edges[second]


def _meet(start: Point, end: Point, other_start: Point, other_end: Point) -> bool:
    """Tell whether two lines cross, touch or overlap: boxes overlap, neither is on one side."""
    boxed = all(
        min(start[axis], end[axis]) - ROUNDING <= max(other_start[axis], other_end[axis])
        and min(other_start[axis], other_end[axis]) - ROUNDING <= max(start[axis], end[axis])
        for axis in (0, 1)
    )
    return (
        boxed
        and _straddle(start, end, other_start, other_end)
        and _straddle(other_start, other_end, start, end)
    )


def _straddle(start: Point, end: Point, other_start: Point, other_end: Point) -> bool:
    """Tell whether the other line's ends are not both clearly on one side of a line."""
    sides = (_side(start, end, other_start), _side(start, end, other_end))
    return min(sides) <= ROUNDING and max(sides) >= -ROUNDING


def _side(start: Point, end: Point, point: Point) -> float:
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

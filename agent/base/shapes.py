"""Points, lines and polygons of the settings: refused where they would not mean what they show."""

from collections.abc import Sequence
from typing import Final

Points = Sequence[tuple[float, float]]
SMALLEST_AREA: Final = 1e-5
"""Of the picture: about 3 by 3 pixels of 1280 by 720. A polygon of less was typed wrongly."""
SHORTEST: Final = 0.005
"""Of the picture's width or height: a lane cannot be narrower."""


def check_polygon(points: Points, *, place: str) -> None:
    """Refuse a polygon that covers nothing or crosses itself: it would hide less than it seems to.

    Raises:
        ValueError: It does; the message names the place.
    """
    if abs(measure_area(points)) < SMALLEST_AREA:
        message = f"{place}: covers nothing; expected corners in shares of the picture, in order"
        raise ValueError(message)
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    for first in range(len(edges)):
        for second in range(first + 1, len(edges)):
            if _cross(*edges[first], *edges[second]):
                message = f"{place}: crosses itself; give its corners in order around it"
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


def _cross(
    start: tuple[float, float],
    end: tuple[float, float],
    other_start: tuple[float, float],
    other_end: tuple[float, float],
) -> bool:
    """Tell whether two lines cross within both; to touch at an end is no crossing."""
    sides = _side(start, end, other_start) * _side(start, end, other_end)
    others = _side(other_start, other_end, start) * _side(other_start, other_end, end)
    return sides < 0 and others < 0


def _side(
    start: tuple[float, float], end: tuple[float, float], point: tuple[float, float]
) -> float:
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])

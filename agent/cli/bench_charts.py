"""Charts as inline SVG: no script, no font, no address; colours come from the page's style.

Each is named for people who do not see it, and stands above a table of the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

WIDTH_PX, HEIGHT_PX = 560, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 52, 12, 12, 38
BAR_PX, BAR_STEP_PX, NAME_PX = 16, 24, 190
TICKS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar with its name and what it shows."""

    name: str
    value: float
    style: str
    """A class of the page's style sheet."""
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


def draw_bars(bars: Sequence[Bar], *, label: str) -> str:
    """Return bars from left to right, one below the other, each with its number."""
    most = max((bar.value for bar in bars), default=0.0) or 1.0
    scale = (WIDTH_PX - NAME_PX - 90) / most
    parts = []
    for row, bar in enumerate(bars):
        y = row * BAR_STEP_PX + 4
        end = NAME_PX + bar.value * scale
        parts.append(
            f'<text class="end" x="{NAME_PX - 8}" y="{y + 12}">{escape(bar.name)}</text>'
            f'<rect class="{bar.style}" x="{NAME_PX}" y="{y}" width="{max(end - NAME_PX, 0.5):.1f}"'
            f' height="{BAR_PX}" rx="2"><title>{escape(bar.note)}</title></rect>'
            f'<text x="{end + 6:.1f}" y="{y + 12}">{escape(bar.note)}</text>'
        )
    return frame("".join(parts), label=label, height_px=len(bars) * BAR_STEP_PX + 8)


def draw_histogram(edges: Sequence[float], counts: Sequence[int], *, label: str, unit: str) -> str:
    """Return upright bars over intervals; the last interval has no end.

    Args:
        edges: Beginning of each interval.
        counts: Of each interval.
        label: What the chart shows.
        unit: Of the edges.
    """
    if not counts or not any(counts):
        return ""
    last = max(index for index, count in enumerate(counts) if count)
    first = min(index for index, count in enumerate(counts) if count)
    shown = range(first, last + 1)
    wide = (WIDTH_PX - LEFT_PX - RIGHT_PX) / len(shown)
    top = nice_ticks(max(counts))
    bottom = HEIGHT_PX - BOTTOM_PX
    parts = [draw_level(value, top[-1]) for value in top]
    for place, index in enumerate(shown):
        high = (bottom - TOP_PX) * counts[index] / top[-1]
        x = LEFT_PX + place * wide
        note = name_interval(edges, index, unit)
        parts.append(
            f'<rect class="plain" x="{x + 1:.1f}" y="{bottom - high:.1f}" width="{wide - 2:.1f}" '
            f'height="{high:.1f}"><title>{counts[index]}: {note}</title></rect>'
            f'<text class="mid" x="{x:.1f}" y="{bottom + 14}">{edges[index]:g}</text>'
        )
    parts.append(name_axes(unit, "frames"))
    return frame("".join(parts), label=label, height_px=HEIGHT_PX)


def name_interval(edges: Sequence[float], index: int, unit: str) -> str:
    """Return an interval in words."""
    if index + 1 < len(edges):
        return f"{edges[index]:g} to {edges[index + 1]:g} {unit}"
    return f"{edges[index]:g} {unit} and more"


def draw_curves(curves: Sequence[Curve], *, label: str, x_name: str, y_name: str) -> str:
    """Return lines over one pair of axes from zero, and a key where they are several."""
    points = [point for curve in curves for point in curve.points]
    if not points:
        return ""
    right = max(x for x, _ in points) or 1.0
    levels = nice_ticks(max(y for _, y in points))
    bottom, wide = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - LEFT_PX - RIGHT_PX
    parts = [draw_level(value, levels[-1]) for value in levels]
    for value in nice_ticks(right):
        if value <= right:
            x = LEFT_PX + wide * value / right
            parts.append(f'<text class="mid" x="{x:.1f}" y="{bottom + 14}">{value:g}</text>')
    for curve in curves:
        way = " ".join(
            f"{LEFT_PX + wide * x / right:.1f},{bottom - (bottom - TOP_PX) * y / levels[-1]:.1f}"
            for x, y in curve.points
        )
        parts.append(
            f'<polyline class="line {curve.style}" points="{way}">'
            f"<title>{escape(curve.name)}</title></polyline>"
        )
    parts.append(name_axes(x_name, y_name))
    return frame("".join(parts), label=label, height_px=HEIGHT_PX) + draw_key(curves)


def draw_level(value: float, most: float) -> str:
    """Return one level line with its number."""
    bottom = HEIGHT_PX - BOTTOM_PX
    y = bottom - (bottom - TOP_PX) * value / most
    return (
        f'<path class="grid" d="M{LEFT_PX} {y:.1f}H{WIDTH_PX - RIGHT_PX}"/>'
        f'<text class="end" x="{LEFT_PX - 6}" y="{y + 4:.1f}">{value:g}</text>'
    )


def name_axes(x_name: str, y_name: str) -> str:
    """Return the names of both axes."""
    middle, down = (LEFT_PX + WIDTH_PX) / 2, HEIGHT_PX / 2 - 10
    return (
        f'<text class="mid" x="{middle}" y="{HEIGHT_PX - 6}">{escape(x_name)}</text>'
        f'<text class="mid" x="12" y="{down}" transform="rotate(-90 12 {down})">'
        f"{escape(y_name)}</text>"
    )


def draw_key(curves: Sequence[Curve]) -> str:
    """Return the names of the lines in their colours."""
    if len(curves) < 2:  # noqa: PLR2004  one line needs no key
        return ""
    names = "".join(
        f'<span><i class="key {curve.style}"></i>{escape(curve.name)}</span>' for curve in curves
    )
    return f'<p class="keys">{names}</p>'


def frame(body: str, *, label: str, height_px: float) -> str:
    """Return the drawing with its name."""
    name = escape(label, quote=True)
    head = f'<svg viewBox="0 0 {WIDTH_PX} {height_px:g}" role="img" aria-label="{name}">'
    return f"{head}<title>{escape(label)}</title>{body}</svg>"


def nice_ticks(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)
    return [round(step * index, 10) for index in range(ceil(most / step - 1e-9) + 1)]

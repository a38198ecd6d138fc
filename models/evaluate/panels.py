"""Cards with one chart each: reliability, thresholds, coverage, one axis of the sweep."""

from html import escape
from typing import Any

from models.evaluate.charts import Frame, Line, draw_chart, make_frame

Tree = dict[str, Any]

TENTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
HUNDRED = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
STYLES = ("good", "plain", "peer", "fourth", "bad")
LOGARITHMIC = frozenset({"plate width", "light"})
TALLEST_COUNT = 0.35
"""Of the chart's height, for the bar of the fullest range."""


def draw_card(title: str, drawing: str, note: str = "") -> str:
    """Return a card."""
    below = f'<span class="soft">{note}</span>' if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{drawing}{below}</div>'


def draw_reliability(title: str, tree: Tree) -> str:
    """Return a card that shows how often guesses of each confidence are right."""
    note = f"off by {tree['calibration_error_points']:.1f} points on average"
    return draw_card(title, plot_reliability(tree), note)


def plot_reliability(tree: Tree) -> str:
    """Return the reliability diagram alone."""
    frame = make_frame(
        (0, 1), (0, 100), ("confidence", "right, %"), x_ticks=TENTHS, y_ticks=HUNDRED
    )
    bins = [one for one in tree["bins"] if one["right"]["of"]]
    line = Line(
        name="right",
        style="plain",
        points=tuple((one["confidence"], one["right"]["percent"]) for one in bins),
        bands=tuple(tuple(one["right"]["interval_95_percent"]) for one in bins),
        titles=tuple(f"{one['right']['count']} of {one['right']['of']}" for one in bins),
    )
    return draw_chart(frame, (line,), extra=draw_ideal(frame) + draw_counts(frame, bins))


def draw_ideal(frame: Frame) -> str:
    """Return the line on which confidence is what it says."""
    x0, x1, y0, y1 = frame.x.start, frame.x.end, frame.y.start, frame.y.end
    return f'<path class="ideal" d="M{x0} {y0}L{x1} {y1}"/>'


def draw_counts(frame: Frame, bins: list[Tree]) -> str:
    """Return a bar for each range that shows how many guesses it holds."""
    most = max((one["right"]["of"] for one in bins), default=1)
    full = (frame.y.start - frame.y.end) * TALLEST_COUNT
    parts = []
    for one in bins:
        x, high = frame.x.place(one["low"]), full * one["right"]["of"] / most
        wide = frame.x.place(one["high"]) - x - 2
        parts.append(
            f'<rect class="count" x="{x + 1:.1f}" y="{frame.y.start - high:.1f}" '
            f'width="{wide:.1f}" height="{high:.1f}"/>'
        )
    return "".join(parts)


def draw_thresholds(title: str, tree: Tree) -> str:
    """Return answered and wrong against the threshold, with the chosen one."""
    frame = make_frame(
        (0, 1), (0, 100), ("threshold", "of all plates, %"), x_ticks=TENTHS, y_ticks=HUNDRED
    )
    rows = tree["thresholds"]
    lines = tuple(
        Line(
            name=key,
            style=style,
            points=tuple((row["threshold"], row[key]["percent"]) for row in rows),
            titles=tuple(f"{row['threshold']:g}: {row[key]['percent']:.1f} %" for row in rows),
        )
        for key, style in (("answered", "plain"), ("right", "good"), ("wrong", "bad"))
    )
    chosen = tree["chosen"]
    x = frame.x.place(chosen["threshold"])
    mark = f'<path class="chosen" d="M{x:.1f} {frame.y.start}V{frame.y.end}"/>'
    note = (
        f"chosen {chosen['threshold']:g}: {chosen['answered']['percent']:.1f} % answered, "
        f"{chosen['wrong']['percent']:.1f} % wrong"
    )
    return draw_card(title, draw_chart(frame, lines, extra=mark), note)


def draw_coverage(sets: dict[str, Tree]) -> str:
    """Return accuracy of the answers against how many are given, a line a set."""
    lines = []
    low = 100.0
    for number, (name, one) in enumerate(sets.items()):
        rows = [row for row in one["confidence"]["thresholds"] if row["answered"]["count"]]
        points = tuple(
            (row["answered"]["percent"], 100 * row["right"]["count"] / row["answered"]["count"])
            for row in rows
        )
        low = min(low, *(y for _, y in points))
        titles = tuple(f"threshold {row['threshold']:g}: {y:.1f} %" for row, (_, y) in zip(
            rows, points, strict=True
        ))  # fmt: skip
        lines.append(
            Line(name=name, style=STYLES[number % len(STYLES)], points=points, titles=titles)
        )
    floor = max(0.0, low // 10 * 10)
    ticks = tuple(floor + (100 - floor) * step / 5 for step in range(6))
    frame = make_frame(
        (0, 100), (floor, 100), ("answered, %", "right of those, %"), x_ticks=HUNDRED, y_ticks=ticks
    )
    return draw_card("Accuracy against coverage, real pictures", draw_chart(frame, tuple(lines)))


def draw_axis(name: str, tree: Tree) -> str:
    """Return found, right and wrong against one condition of the sweep."""
    points = tree["points"]
    values = [point["value"] for point in points]
    frame = make_frame(
        (min(values), max(values)),
        (0, 100),
        (f"{name}, {tree['unit']}", "of the vehicles, %"),
        x_ticks=tuple(values),
        y_ticks=HUNDRED,
        logarithmic=name in LOGARITHMIC,
    )
    lines = tuple(
        Line(
            name=key,
            style=style,
            points=tuple((point["value"], point[key]["percent"]) for point in points),
            bands=tuple(tuple(point[key]["interval_95_percent"]) for point in points),
            titles=tuple(
                f"{point['value']:g}: {point[key]['count']} of {point[key]['of']}"
                for point in points
            ),
        )
        for key, style in (("found", "plain"), ("right", "good"), ("wrong", "bad"))
    )
    errors = [
        f"{point['value']:g}: {point['corner_error_percent']:.1f}"
        for point in points
        if point["corner_error_percent"] is not None
    ]
    note = f"corner error, % of the width: {', '.join(errors)}" if errors else ""
    return draw_card(name.capitalize(), draw_chart(frame, lines), note)

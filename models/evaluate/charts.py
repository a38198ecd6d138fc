"""Charts as inline SVG: no script, no font, no address; colours come from the page's style."""

from dataclasses import dataclass, field
from html import escape
from math import log10

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 40

Place = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where numbers of one axis lie on the paper."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the coordinate of `value`; values beyond the ends lie at the ends."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = log10(low), log10(high), log10(at)
        share = (at - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    style: str
    """A class of the page's style sheet: good, bad, plain, peer."""
    points: tuple[Place, ...]
    bands: tuple[Place, ...] = ()
    """Lower and upper bound at each point."""
    titles: tuple[str, ...] = field(default=())
    """What a pointer over each point shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The two axes of a chart and what is written along them."""

    x: Scale
    y: Scale
    x_name: str
    y_name: str
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...]


def make_frame(
    x_range: Place,
    y_range: Place,
    names: Place | tuple[str, str],
    *,
    x_ticks: tuple[float, ...],
    y_ticks: tuple[float, ...],
    logarithmic: bool = False,
) -> Frame:
    """Return a frame of the usual size."""
    return Frame(
        x=Scale(
            low=x_range[0], high=x_range[1], start=LEFT, end=WIDTH - RIGHT, logarithmic=logarithmic
        ),
        y=Scale(low=y_range[0], high=y_range[1], start=HEIGHT - BOTTOM, end=TOP),
        x_name=str(names[0]),
        y_name=str(names[1]),
        x_ticks=x_ticks,
        y_ticks=y_ticks,
    )


def draw_chart(frame: Frame, lines: tuple[Line, ...], *, extra: str = "") -> str:
    """Return the chart; `extra` is drawn beneath the lines."""
    parts = [draw_axes(frame), extra]
    parts += [draw_band(frame, line) for line in lines if line.bands]
    parts += [draw_line(frame, line) for line in lines]
    label = escape(f"{frame.y_name} against {frame.x_name}", quote=True)
    body = "".join(parts)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return f"{head}{body}</svg>{draw_key(lines) if len(lines) > 1 else ''}"


def draw_axes(frame: Frame) -> str:
    """Return grid, numbers and names."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in frame.y_ticks:
        y = frame.y.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text class="num" x="{LEFT - 6}" y="{y + 3.5:.1f}">{tick:g}</text>')
    for tick in frame.x_ticks:
        x = frame.x.place(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="mid" x="{x:.1f}" y="{bottom + 14}">{tick:g}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="mid name" x="{middle}" y="{HEIGHT - 6}">{escape(frame.x_name)}</text>'
    )
    down = (TOP + bottom) / 2
    turn = f'transform="rotate(-90 11 {down})"'
    parts.append(f'<text class="mid name" x="11" y="{down}" {turn}>{escape(frame.y_name)}</text>')
    return "".join(parts)


def draw_line(frame: Frame, line: Line) -> str:
    """Return one line with a dot at each point."""
    places = [(frame.x.place(x), frame.y.place(y)) for x, y in line.points]
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = []
    for number, (x, y) in enumerate(places):
        title = line.titles[number] if line.titles else ""
        note = f"<title>{escape(title)}</title>" if title else ""
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6">{note}</circle>')
    return f'<g class="line {line.style}"><polyline points="{way}"/>{"".join(dots)}</g>'


def draw_band(frame: Frame, line: Line) -> str:
    """Return the area between the bounds."""
    upper = [(x, high) for (x, _), (_, high) in zip(line.points, line.bands, strict=True)]
    lower = [(x, low) for (x, _), (low, _) in zip(line.points, line.bands, strict=True)]
    ring = [*upper, *reversed(lower)]
    way = " ".join(f"{frame.x.place(x):.1f},{frame.y.place(y):.1f}" for x, y in ring)
    return f'<polygon class="band {line.style}" points="{way}"/>'


def draw_key(lines: tuple[Line, ...]) -> str:
    """Return the names of the lines in their colours, below the chart."""
    names = "".join(
        f'<span><i class="key {line.style}"></i>{escape(line.name)}</span>' for line in lines
    )
    return f'<div class="keys">{names}</div>'


def draw_matrix(counts: dict[tuple[str, str], int], names: str) -> str:
    """Return a square of characters: rows what was there, columns what was read.

    Args:
        counts: (true, read) → how often; only those that differ.
        names: The characters in order; "" (nothing) is written as a dot, last.
    """
    cell, edge = 13, 18
    marks = [*names, ""]
    most = max(counts.values(), default=1)
    side = edge + cell * len(marks) + 2
    parts = []
    for number, mark in enumerate(marks):
        at = edge + cell * number + cell / 2
        shown = mark or "·"
        parts.append(f'<text class="tiny" x="{at}" y="{edge - 5}">{shown}</text>')
        parts.append(f'<text class="tiny" x="{edge - 8}" y="{at + 3}">{shown}</text>')
        parts.append(
            f'<rect class="diagonal" x="{at - cell / 2}" y="{at - cell / 2}" width="{cell - 1}" '
            f'height="{cell - 1}"/>'
        )
    for (true, read), count in sorted(counts.items()):
        x, y = edge + cell * marks.index(read), edge + cell * marks.index(true)
        strength = 0.15 + 0.85 * (count / most) ** 0.5
        note = f"{true or 'nothing'} read as {read or 'nothing'}: {count}"
        parts.append(
            f'<rect class="cell" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{strength:.2f}"><title>{escape(note)}</title></rect>'
        )
    label = "confusions: rows what was there, columns what was read"
    body = "".join(parts)
    head = f'<svg class="matrix" viewBox="0 0 {side} {side}" role="img" aria-label="{label}">'
    return f"{head}{body}</svg>"


def draw_bar(percent: float, interval: Place | None, peer: float | None) -> str:
    """Return a level bar from 0 to 100 with its interval, and a mark where the peer stands."""
    wide = 150
    scale = wide / 100
    parts = [f'<rect class="rail" width="{wide}" height="12" rx="2"/>']
    parts.append(f'<rect class="fill" width="{percent * scale:.1f}" height="12" rx="2"/>')
    if interval:
        low, high = interval[0] * scale, interval[1] * scale
        parts.append(
            f'<path class="whisker" d="M{low:.1f} 6H{high:.1f}M{low:.1f} 2v8M{high:.1f} 2v8"/>'
        )
    if peer is not None:
        parts.append(f'<path class="mark" d="M{peer * scale:.1f} -2v16"/>')
    size = f'viewBox="0 -3 {wide} 18" width="{wide}" height="18"'
    return f'<svg class="bar" {size} aria-hidden="true">{"".join(parts)}</svg>'

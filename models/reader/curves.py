"""Draw a run's loss and accuracies over its steps as a picture for the model card.

`python -m models.reader.curves runs/reader/log.jsonl models/reader/curves.svg`
"""

import argparse
import json
from pathlib import Path

WIDTH_PX, HEIGHT_PX, EDGE_PX = 720, 360, 48
COLOURS = ("#444444", "#1f6fb4", "#d1622b", "#2f8f4e", "#9b4fb0")
PERCENT = (60.0, 100.0)


def draw_curves(log: Path, out: Path) -> None:
    """Write an SVG of all curves; does nothing as long as there are fewer than two points."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    if len(rows) < 2:
        return
    names = [name for name in rows[-1] if name not in {"minutes", "steps"}]
    last = max(row["steps"] for row in rows)
    highest = max(row.get("loss", 0.0) for row in rows) or 1.0
    parts = [_frame(last, highest)]
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        low, high = (0.0, highest) if name == "loss" else PERCENT
        points = [
            _place(row["steps"] / last, (row[name] - low) / (high - low))
            for row in rows
            if name in row
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        place = f'x="{EDGE_PX + 10}" y="{EDGE_PX - 30 + 15 * number}"'
        parts.append(f'<text {place} fill="{colour}">{name}: {rows[-1][name]}</text>')
    size = f'width="{WIDTH_PX}" height="{HEIGHT_PX}" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}"'
    style = 'font-family="sans-serif" font-size="12"'
    body = "\n".join(parts)
    out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n')


def _place(across: float, up: float) -> tuple[float, float]:
    """Return the pixel of a point given in shares of the axes."""
    up = min(max(up, 0.0), 1.0)
    wide, high = WIDTH_PX - 2 * EDGE_PX, HEIGHT_PX - 2 * EDGE_PX
    return EDGE_PX + across * wide, HEIGHT_PX - EDGE_PX - up * high


def _frame(last: int, highest: float) -> str:
    """Return the background, the axes and their ends."""
    (left, bottom), (right, top) = _place(0, 0), _place(1, 1)
    lines = ['<rect width="100%" height="100%" fill="white"/>']
    lines.append(f'<path fill="none" stroke="#999" d="M{left} {top}V{bottom}H{right}V{top}"/>')
    low, high = PERCENT
    ends = (
        (right - 50, bottom + 18, f"{last} steps"), (right + 6, top + 4, f"{high:.0f} %"),
        (right + 6, bottom, f"{low:.0f} %"), (4, top + 4, f"{highest:.2f}"),
        (4, bottom, "loss 0"),
    )  # fmt: skip
    lines += [f'<text x="{x}" y="{y}" fill="#666">{text}</text>' for x, y, text in ends]
    return "\n".join(lines)


def main() -> int:
    """Draw from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    draw_curves(args.log, args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

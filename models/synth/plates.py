"""Render the flat face of a licence plate with the place of every character.

Only numpy and OpenCV are needed: the same seed gives the same plate on every machine. Training
hands in font files on top (`fonts.py`). Weights of layouts stand in `layouts.py`, chances of
everything else below.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.synth import decor
from models.synth.layouts import Layout, choose_layout, spread_text
from models.synth.rows import WIDTH_PX, Boxes, Gray, Row, print_row, row_boxes, set_row

LIGHT_ON_DARK = 0.3
SMALLEST_CONTRAST = 55
CALIFORNIA_BESIDE = 0.12  # chance of pictures beside the number, against 0.6 elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPlate:
    """A flat plate face.

    `gray` is (H, W) with the real aspect ratio; `boxes` (len(text), 4) holds x1, y1, x2, y2 of
    each character in its pixels, in reading order.
    """

    gray: Gray
    text: str
    boxes: Boxes


def render_plate(
    rng: np.random.Generator,
    *,
    text: str | None = None,
    layout: str | None = None,
    faces: tuple[Path, ...] = (),
) -> RenderedPlate:
    """Draw one plate.

    Args:
        rng: Source of every choice.
        text: A-Z0-9; drawn from the layout's patterns when absent.
        layout: A name in `layouts.LAYOUTS`; drawn by weight when absent.
        faces: Font files beside the own glyphs, from `fonts.installed_faces`.

    Raises:
        KeyError: No such layout.
    """
    chosen = choose_layout(rng, layout)
    spread = spread_text(rng, chosen, text)
    height_px = round(WIDTH_PX / (chosen.aspect * rng.uniform(0.94, 1.06)))
    paper, ink = _draw_tones(rng)
    gray = np.full((height_px, WIDTH_PX), paper, np.uint8)
    decorated = rng.random() < chosen.decor
    if decorated:
        decor.draw_scenery(rng, gray, paper)
    row = set_row(rng, chosen, spread, height_px, faces)
    print_row(rng, gray, row, ink)
    if decorated:
        _fill_gaps(rng, gray, row, ink)
    _decorate(rng, gray, chosen, row, ink, decorated=decorated)
    characters = "".join(mark for mark in spread if mark not in " -")
    return RenderedPlate(gray=gray, text=characters, boxes=row_boxes(row))


def _draw_tones(rng: np.random.Generator) -> tuple[float, float]:
    light = rng.uniform(150, 250)
    dark = rng.uniform(5, min(130, light - SMALLEST_CONTRAST))
    return (dark, light) if rng.random() < LIGHT_ON_DARK else (light, dark)


def _fill_gaps(rng: np.random.Generator, gray: Gray, row: Row, ink: float) -> None:
    """Put a dash, a dot, a logo or stacked letters where the pattern leaves a gap."""
    height = row.masks[0].shape[0]
    for left, right, mark in row.gaps:
        if mark != "-":
            continue
        kind = rng.random()
        middle, wide = row.top + height / 2, right - left
        if kind < 0.3:
            half = height * rng.uniform(0.03, 0.07)
            ends = (
                (int(left + wide * 0.2), int(middle - half)),
                (int(right - wide * 0.2), int(middle + half)),
            )
            cv2.rectangle(gray, *ends, int(ink), -1)
        elif kind < 0.5:
            centre = (int((left + right) / 2), int(middle + rng.uniform(-0.1, 0.1) * height))
            cv2.circle(gray, centre, max(int(height * rng.uniform(0.05, 0.1)), 2), int(ink), -1)
        elif kind < 0.8:
            box = (
                left,
                middle - height * rng.uniform(0.2, 0.55),
                right,
                middle + height * rng.uniform(0.2, 0.55),
            )
            decor.draw_logo(rng, gray, box=box, ink=ink)
        elif kind < 0.9:
            box = (left + 2, float(row.top), right - 2, float(row.top + height))
            decor.draw_stack(rng, gray, box=box, ink=ink)


def _draw_beside(rng: np.random.Generator, gray: Gray, row: Row, ink: float) -> None:
    """Fill the room left and right of the number with a picture or stacked letters."""
    height = row.masks[0].shape[0]
    last = row.lefts[-1] + row.masks[-1].shape[1]
    for low, high in ((6.0, row.lefts[0] - 5), (last + 5, WIDTH_PX - 6.0)):
        if high - low < 14 or rng.random() < 0.45:
            continue
        wide = min(high - low, height * rng.uniform(0.3, 1.0))
        near = high - wide if low < WIDTH_PX / 2 else low
        box = (
            near,
            row.top + rng.uniform(-4, 6),
            near + wide,
            row.top + height + rng.uniform(-6, 4),
        )
        if rng.random() < 0.5:
            decor.draw_stack(
                rng, gray, box=(*box[:2], box[0] + min(wide, height * 0.42), box[3]), ink=ink
            )
        else:
            decor.draw_logo(rng, gray, box=box, ink=ink)


def _decorate(
    rng: np.random.Generator, gray: Gray, layout: Layout, row: Row, ink: float, *, decorated: bool
) -> None:
    """Add everything that is not the number, from the print to the dirt."""
    if layout.band and row.lefts[0] > WIDTH_PX * 0.085 and rng.random() < 0.8:
        gray[:, : int(WIDTH_PX * rng.uniform(0.06, 0.08))] = int(rng.uniform(20, 140))
    if decorated:
        if rng.random() < (CALIFORNIA_BESIDE if layout.name == "ca" else 0.6):
            _draw_beside(rng, gray, row, ink)
        _write_words(rng, gray, layout, row, ink)
        decor.draw_stickers(rng, gray, ink)
    if rng.random() < 0.6:
        decor.draw_bolts(rng, gray)
    if rng.random() < 0.4:
        decor.draw_border(rng, gray, ink)
    if rng.random() < 0.35:
        free = (row.top - 2.0, row.top + row.masks[0].shape[0] + 2.0)
        decor.draw_frame(rng, gray, free=free)
    if rng.random() < 0.3:
        decor.draw_dirt(rng, gray)


def _write_words(
    rng: np.random.Generator, gray: Gray, layout: Layout, row: Row, ink: float
) -> None:
    """Write the state above the number and a slogan below, by chance."""
    height_px = gray.shape[0]
    top, bottom = row.top / height_px, (row.top + row.masks[0].shape[0]) / height_px
    words_ink = ink if rng.random() < 0.7 else float(rng.uniform(10, 240))
    script = 0.7 if layout.name.startswith("ca") else 0.3
    if rng.random() < 0.9:
        low = rng.uniform(0.02, 0.06)
        decor.draw_words(rng, gray, top=low, bottom=top - 0.02, ink=words_ink, script=script)
    if rng.random() < 0.65:
        high = rng.uniform(0.94, 0.99)
        decor.draw_words(rng, gray, top=bottom + 0.03, bottom=high, ink=words_ink, script=0.2)

"""Render the flat face of a licence plate with the place of every character.

Only numpy and OpenCV are needed: the same seed gives the same plate on every machine. Training
hands in font files on top (`fonts.py`). How often what is drawn stands in `weights.py`.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.synth import decor, weights
from models.synth.layouts import Layout, choose_layout, spread_text
from models.synth.rows import (
    WIDTH_PX,
    Boxes,
    Gray,
    Row,
    draw_stack,
    print_row,
    row_boxes,
    set_row,
)

SMALLEST_CONTRAST = 55


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
    clean: bool = False,
) -> RenderedPlate:
    """Draw one plate.

    Args:
        rng: Source of every choice.
        text: A-Z0-9; drawn from the layout's patterns when absent.
        layout: A name in `layouts.LAYOUTS`; drawn by weight when absent.
        faces: Font files beside the own glyphs, from `fonts.installed_faces`.
        clean: Nothing hides or wears the characters.

    Raises:
        KeyError: No such layout.
    """
    chosen = choose_layout(rng, layout)
    spread = spread_text(rng, chosen, text)
    height_px = round(WIDTH_PX / (chosen.aspect * rng.uniform(0.94, 1.06)))
    paper, ink = _draw_tones(rng, chosen)
    gray = np.full((height_px, WIDTH_PX), paper, np.uint8)
    decorated = rng.random() < chosen.decor
    if decorated:
        decor.draw_scenery(rng, gray, paper)
    row = set_row(rng, chosen, spread, height_px, faces)
    print_row(rng, gray, row, ink, clean=clean)
    _fill_gaps(rng, gray, chosen, row, ink)
    _decorate(rng, gray, chosen, row, ink, decorated=decorated)
    _cover(rng, gray, row, clean=clean)
    characters = "".join(mark for mark in spread if mark not in " -")
    return RenderedPlate(gray=gray, text=characters, boxes=row_boxes(row))


def _draw_tones(rng: np.random.Generator, layout: Layout) -> tuple[float, float]:
    light = rng.uniform(150, 250)
    dark = rng.uniform(5, min(130, light - SMALLEST_CONTRAST))
    share = weights.LIGHT_ON_DARK_OF.get(layout.name, weights.LIGHT_ON_DARK)
    return (dark, light) if rng.random() < share else (light, dark)


def _fill_gaps(rng: np.random.Generator, gray: Gray, layout: Layout, row: Row, ink: float) -> None:
    """Put a dash, a dot, a logo or stacked letters where the pattern leaves a gap."""
    height = row.masks[0].shape[0]
    dot = layout.name == "south_america" and rng.random() < weights.SOUTH_AMERICAN_DOT
    for left, right, mark in row.gaps:
        if mark != "-":
            continue
        kind = weights.GAP_DASH if dot else rng.random()
        middle, wide = row.top + height / 2, right - left
        if kind < weights.GAP_DASH:
            half = height * rng.uniform(0.03, 0.07)
            ends = (
                (int(left + wide * 0.2), int(middle - half)),
                (int(right - wide * 0.2), int(middle + half)),
            )
            cv2.rectangle(gray, *ends, int(ink), -1)
        elif kind < weights.GAP_DASH + weights.GAP_DOT:
            centre = (int((left + right) / 2), int(middle + rng.uniform(-0.1, 0.1) * height))
            cv2.circle(gray, centre, max(int(height * rng.uniform(0.05, 0.1)), 2), int(ink), -1)
        elif kind < weights.GAP_DASH + weights.GAP_DOT + weights.GAP_PICTURE:
            half = height * rng.uniform(0.2, 0.55, 2)
            decor.draw_picture(rng, gray, box=(left, middle - half[0], right, middle + half[1]),
                               ink=ink)  # fmt: skip
        elif kind < 1 - weights.GAP_STACK / 2:
            draw_stack(rng, gray, row, box=(left + 2, right - 2), ink=ink)


def _draw_beside(rng: np.random.Generator, gray: Gray, row: Row, ink: float) -> None:
    """Fill the room left and right of the number with a picture or stacked letters."""
    height = row.masks[0].shape[0]
    last = row.lefts[-1] + row.masks[-1].shape[1]
    for low, high in ((6.0, row.lefts[0] - 5), (last + 5, WIDTH_PX - 6.0)):
        if high - low < 14 or rng.random() > weights.BESIDE_EACH_SIDE:
            continue
        wide = min(high - low, height * rng.uniform(0.3, 1.0))
        near = high - wide if low < WIDTH_PX / 2 else low
        box = (
            near,
            row.top + rng.uniform(-4, 6),
            near + wide,
            row.top + height + rng.uniform(-6, 4),
        )
        narrow = (*box[:2], box[0] + min(wide, height * 0.42), box[3])
        if rng.random() > weights.STACKED:
            decor.draw_picture(rng, gray, box=box, ink=ink)
        elif rng.random() < weights.STACKED_IN_DIE:
            draw_stack(rng, gray, row, box=(narrow[0], narrow[2]), ink=ink)
        else:
            decor.draw_stack(rng, gray, box=narrow, ink=ink)


def _decorate(
    rng: np.random.Generator, gray: Gray, layout: Layout, row: Row, ink: float, *, decorated: bool
) -> None:
    """Add everything that is not the number, from the print to the dirt."""
    if layout.band and row.lefts[0] > WIDTH_PX * 0.085 and rng.random() < weights.BAND:
        decor.draw_band(rng, gray, left=True, letters=weights.BAND_LETTERS)
    end = row.lefts[-1] + row.masks[-1].shape[1]
    if layout.band and end < WIDTH_PX * 0.915 and rng.random() < weights.BAND_RIGHT:
        decor.draw_band(rng, gray, left=False, letters=weights.BAND_LETTERS)
    if decorated:
        if rng.random() < weights.BESIDE.get(layout.name, weights.BESIDE_ELSEWHERE):
            _draw_beside(rng, gray, row, ink)
        _write_words(rng, gray, layout, row, ink)
        decor.draw_stickers(rng, gray, ink)
    if rng.random() < weights.BOLTS:
        decor.draw_bolts(rng, gray)
    if rng.random() < weights.BORDER:
        decor.draw_border(rng, gray, ink)


def _cover(rng: np.random.Generator, gray: Gray, row: Row, *, clean: bool) -> None:
    """Lay a frame, a tow ball and dirt over the plate."""
    height = row.masks[0].shape[0]
    if rng.random() < weights.FRAME:
        free = [row.top - 2.0, row.top + height + 2.0]
        if rng.random() < weights.FRAME_CUTS and not clean:
            hidden = height * rng.uniform(*weights.FRAME_CUT)
            low = rng.random() < 0.75
            free[low] += (1 - 2 * low) * (hidden + 2)
            decor.draw_frame(rng, gray, free=(free[0], free[1]), tight=low)
        else:
            decor.draw_frame(rng, gray, free=(free[0], free[1]))
    if not clean and rng.random() < weights.TOW_BALL:
        decor.draw_tow_ball(rng, gray, top=row.top + height * rng.uniform(*weights.TOW_BALL_TOP))
    if rng.random() < weights.DIRT:
        decor.draw_dirt(rng, gray)


def _write_words(
    rng: np.random.Generator, gray: Gray, layout: Layout, row: Row, ink: float
) -> None:
    """Write the state above the number and a slogan below, by chance."""
    height_px = gray.shape[0]
    top, bottom = row.top / height_px, (row.top + row.masks[0].shape[0]) / height_px
    words_ink = ink if rng.random() < 0.7 else float(rng.uniform(10, 240))
    california = layout.name.startswith("ca")
    script = weights.SCRIPT_CALIFORNIA if california else weights.SCRIPT
    if rng.random() < weights.HEADER:
        low = rng.uniform(0.02, 0.06)
        decor.draw_words(rng, gray, top=low, bottom=top - 0.02, ink=words_ink, script=script)
    if rng.random() < weights.FOOTER:
        high = rng.uniform(0.94, 0.99)
        decor.draw_words(rng, gray, top=bottom + 0.03, bottom=high, ink=words_ink, script=0.2)

"""Render the flat face of a licence plate with the place of every character.

Only numpy and OpenCV are needed: the same seed gives the same plate on every machine. Training
hands in font files on top (`fonts.py`). Weights of layouts stand in `layouts.py`, chances of
everything else below.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth import decor
from models.synth.fonts import font_mask
from models.synth.glyphs import draw_style, stroke_mask
from models.synth.layouts import Layout, choose_layout, spread_text

WIDTH_PX = 360
LIGHT_ON_DARK = 0.3
FONT_SHARE = 0.4  # of plates, when faces are given
SMALLEST_CONTRAST = 55
THICKEST = 0.3  # of the character width; heavier strokes close the holes
CALIFORNIA_DIE = 0.75  # of California plates; the others keep the network open
CALIFORNIA_BESIDE = 0.12  # chance of pictures beside the number, against 0.6 elsewhere
NARROW_GAP, WIDE_GAP = (0.25, 0.8), (0.35, 1.1)  # in character pitches, for ` ` and `-`

Gray = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPlate:
    """A flat plate face.

    `gray` is (H, W) with the real aspect ratio; `boxes` (len(text), 4) holds x1, y1, x2, y2 of
    each character in its pixels, in reading order.
    """

    gray: Gray
    text: str
    boxes: Boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cut masks of the characters with their left edges, and the free gaps between them."""

    masks: tuple[Gray, ...]
    lefts: tuple[float, ...]
    gaps: tuple[tuple[float, float, str], ...]
    top: int


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
    row = _set_row(rng, chosen, spread, height_px, faces)
    _print_row(rng, gray, row, ink)
    if decorated:
        _fill_gaps(rng, gray, row, ink)
    _decorate(rng, gray, chosen, row, ink, decorated=decorated)
    characters = "".join(mark for mark in spread if mark not in " -")
    return RenderedPlate(gray=gray, text=characters, boxes=_row_boxes(row))


def _draw_tones(rng: np.random.Generator) -> tuple[float, float]:
    light = rng.uniform(150, 250)
    dark = rng.uniform(5, min(130, light - SMALLEST_CONTRAST))
    return (dark, light) if rng.random() < LIGHT_ON_DARK else (light, dark)


def _masks(
    rng: np.random.Generator,
    characters: str,
    cell: tuple[float, int],
    faces: tuple[Path, ...],
    *,
    california: bool,
) -> list[Gray]:
    """Draw all characters of a plate with one die or one font; `cell` is pitch and height."""
    pitch, height = cell
    width = min(pitch * rng.uniform(0.62, 0.84), height * rng.uniform(0.45, 0.78))
    if faces and not california and rng.random() < FONT_SHARE:
        face = faces[int(rng.integers(len(faces)))]
        ratio = width / height
        return [font_mask(c, face, width_ratio=ratio, height_px=height) for c in characters]
    style = draw_style(rng, thickest=THICKEST * width / height, california=california)
    return [stroke_mask(c, style, width_px=round(width), height_px=height) for c in characters]


def _set_row(
    rng: np.random.Generator, layout: Layout, spread: str, height_px: int, faces: tuple[Path, ...]
) -> Row:
    """Place the characters; each stands in the middle of its cell, as dies do."""
    height = round(height_px * rng.uniform(*layout.text_height))
    units = [
        rng.uniform(*(NARROW_GAP if mark == " " else WIDE_GAP)) if mark in " -" else 1.0
        for mark in spread
    ]
    room = WIDTH_PX * rng.uniform(*layout.text_width)
    left = (WIDTH_PX - room) / 2
    if layout.band and rng.random() < layout.band:
        left, room = WIDTH_PX * 0.1, WIDTH_PX * 0.87
    pitch = min(room / sum(units), height * rng.uniform(0.75, 1.15))
    slack = room - pitch * sum(units)
    left += slack * (0.5 if rng.random() < 0.7 else rng.uniform(0, 1))
    characters = "".join(mark for mark in spread if mark not in " -")
    california = layout.name.startswith("ca") and rng.random() < CALIFORNIA_DIE
    masks = _masks(rng, characters, (pitch, height), faces, california=california)
    proportional = rng.random() < 0.25
    lefts, gaps, at, index = [], [], left, 0
    for mark, unit in zip(spread, units, strict=True):
        if mark in " -":
            gaps.append((at, at + unit * pitch, mark))
        else:
            width = masks[index].shape[1]
            step = width + pitch * 0.2 if proportional else pitch
            lefts.append(at + (step - width) / 2)
            index += 1
            at += step
            continue
        at += unit * pitch
    middle = height_px * rng.uniform(*layout.text_middle)
    top = int(np.clip(middle - height / 2, 1, height_px - height - 1))
    return Row(masks=tuple(masks), lefts=tuple(lefts), gaps=tuple(gaps), top=top)


def _print_row(rng: np.random.Generator, gray: Gray, row: Row, ink: float) -> None:
    """Blend the characters in, sometimes with the light and shade of pressed metal."""
    cover = np.zeros(gray.shape, np.uint8)
    for mask, left in zip(row.masks, row.lefts, strict=True):
        x = int(np.clip(round(left), 0, WIDTH_PX - 1))
        width = min(mask.shape[1], WIDTH_PX - x)
        cover[row.top : row.top + mask.shape[0], x : x + width] = mask[:, :width]
    part = cover.astype(np.float32) / 255
    out = gray + part * (ink - gray.astype(np.float32))
    if rng.random() < 0.5:
        shift = rng.uniform(-2.5, 2.5, 2)
        moved = cv2.warpAffine(
            part, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), gray.shape[::-1]
        )
        out += (moved - part) * rng.uniform(-45, 45)
    np.copyto(gray, np.clip(out, 0, 255).astype(np.uint8))


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


def _row_boxes(row: Row) -> Boxes:
    bottom = row.top + row.masks[0].shape[0]
    return np.array(
        [
            (left, row.top, min(left + mask.shape[1], WIDTH_PX), bottom)
            for mask, left in zip(row.masks, row.lefts, strict=True)
        ],
        np.float32,
    )

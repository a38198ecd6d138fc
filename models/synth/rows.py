"""Set the row of characters of a plate: which gaps, which die, how wide, where.

Every character stands in the middle of its cell, as with pressed dies; a quarter of the plates is
set proportionally.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.fonts import font_mask
from models.synth.glyphs import draw_style, stroke_mask
from models.synth.layouts import Layout

WIDTH_PX = 360
FONT_SHARE = 0.4  # of plates, when faces are given
THICKEST = 0.3  # of the character width; heavier strokes close the holes
NARROW_GAP, WIDE_GAP = (0.25, 0.8), (0.35, 1.1)  # in character pitches, for ` ` and `-`
SIDE_PICTURES, SIDE_PICTURE = ("us", "vanity"), 0.3  # the number makes room for a picture
CALIFORNIA_DIE = 0.75  # of California plates; the others keep the network open

Gray = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cut masks of the characters with their left edges, and the free gaps between them."""

    masks: tuple[Gray, ...]
    lefts: tuple[float, ...]
    gaps: tuple[tuple[float, float, str], ...]
    top: int


def set_row(
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
    if layout.name in SIDE_PICTURES and rng.random() < SIDE_PICTURE:
        taken = room * rng.uniform(0.1, 0.24)
        room -= taken
        left += taken * (rng.random() < 0.75)
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


def print_row(rng: np.random.Generator, gray: Gray, row: Row, ink: float) -> None:
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


def row_boxes(row: Row) -> Boxes:
    """Return x1, y1, x2, y2 of each character in pixels of the plate."""
    bottom = row.top + row.masks[0].shape[0]
    return np.array(
        [
            (left, row.top, min(left + mask.shape[1], WIDTH_PX), bottom)
            for mask, left in zip(row.masks, row.lefts, strict=True)
        ],
        np.float32,
    )

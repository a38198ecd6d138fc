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
from models.synth.glyphs import ALPHABET, StrokeStyle, draw_style, stroke_mask
from models.synth.layouts import Layout
from models.synth.weights import (
    DIES,
    FONT_SHARE,
    OUTLINE,
    PRESSED,
    PROPORTIONAL,
    SIDE_PICTURE,
    SIDE_PICTURE_LAYOUTS,
    WORN,
    WRIGHT_IN_EUROPE,
)

WIDTH_PX = 360
SMALLEST_STACK_PX = 7
THICKEST = 0.3  # of the character width; heavier strokes close the holes
NARROW_GAP, WIDE_GAP = (0.25, 0.8), (0.35, 1.1)  # in character pitches, for ` ` and `-`

Gray = NDArray[np.uint8]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cut masks of the characters with their left edges, and the free gaps between them."""

    masks: tuple[Gray, ...]
    lefts: tuple[float, ...]
    gaps: tuple[tuple[float, float, str], ...]
    top: int
    style: StrokeStyle
    """For whatever else stands on the plate in the same die."""


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
    if layout.name in SIDE_PICTURE_LAYOUTS and rng.random() < SIDE_PICTURE:
        taken = room * rng.uniform(0.1, 0.24)
        room -= taken
        left += taken * (rng.random() < 0.75)
    pitch = min(room / sum(units), height * rng.uniform(0.75, 1.15))
    slack = room - pitch * sum(units)
    left += slack * (0.5 if rng.random() < 0.7 else rng.uniform(0, 1))
    characters = "".join(mark for mark in spread if mark not in " -")
    die = _choose_die(rng, layout)
    masks, style = _masks(rng, characters, (pitch, height), faces, die=die)
    proportional = rng.random() < PROPORTIONAL
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
    return Row(masks=tuple(masks), lefts=tuple(lefts), gaps=tuple(gaps), top=top, style=style)


def _choose_die(rng: np.random.Generator, layout: Layout) -> str:
    """Return a key of `glyphs.DIES`; empty for no die in particular."""
    die, share = DIES.get(layout.name, ("", 0.0))
    pick = rng.random()
    if pick < share:
        return die
    if layout.name == "europe" and pick < share + WRIGHT_IN_EUROPE:
        return "wright"
    return ""


def _masks(
    rng: np.random.Generator,
    characters: str,
    cell: tuple[float, int],
    faces: tuple[Path, ...],
    *,
    die: str,
) -> tuple[list[Gray], StrokeStyle]:
    """Draw all characters of a plate with one die or one font; `cell` is pitch and height."""
    pitch, height = cell
    width = min(pitch * rng.uniform(0.62, 0.84), height * rng.uniform(0.45, 0.78))
    style = draw_style(rng, thickest=THICKEST * width / height, die=die)
    if faces and not die and rng.random() < FONT_SHARE:
        face = faces[int(rng.integers(len(faces)))]
        ratio = width / height
        masks = [font_mask(c, face, width_ratio=ratio, height_px=height) for c in characters]
        return masks, style
    size = {"width_px": round(width), "height_px": height}
    return [stroke_mask(c, style, **size) for c in characters], style


def draw_stack(
    rng: np.random.Generator, gray: Gray, row: Row, *, box: tuple[float, float], ink: float
) -> None:
    """Press one to three small characters above each other between two x, in the number's die."""
    left, right = box
    row_height = row.masks[0].shape[0]
    count = int(rng.choice((1, 2, 3), p=(0.3, 0.5, 0.2)))
    tall = row_height * (rng.uniform(0.38, 0.62) if count == 1 else 0.94 / count)
    wide = int(min(right - left, tall * rng.uniform(0.55, 0.85)))
    if wide < SMALLEST_STACK_PX:
        return
    down = row.top + (rng.uniform(0.0, row_height - tall) if count == 1 else 0.0)
    pitch = row_height * rng.uniform(0.96, 1.04) / count
    for index in range(count):
        letter = ALPHABET[int(rng.integers(len(ALPHABET)))]
        mask = stroke_mask(letter, row.style, width_px=wide, height_px=max(round(tall), 4))
        y, x = int(down + index * pitch), int(left)
        part = gray[y : y + mask.shape[0], x : x + mask.shape[1]]
        cover = mask[: part.shape[0], : part.shape[1]].astype(np.float32) / 255
        np.copyto(part, (part + cover * (ink - part.astype(np.float32))).astype(np.uint8))


def print_row(
    rng: np.random.Generator, gray: Gray, row: Row, ink: float, *, clean: bool = False
) -> None:
    """Blend the characters in, sometimes with the light and shade of pressed metal."""
    cover = np.zeros(gray.shape, np.uint8)
    for mask, left in zip(row.masks, row.lefts, strict=True):
        x = int(np.clip(round(left), 0, WIDTH_PX - 1))
        width = min(mask.shape[1], WIDTH_PX - x)
        cover[row.top : row.top + mask.shape[0], x : x + width] = mask[:, :width]
    part = cover.astype(np.float32) / 255
    painted = part if clean else _wear(rng, part)
    out = gray + painted * (ink - gray.astype(np.float32))
    if rng.random() < PRESSED or painted is not part:
        shift = rng.uniform(-2.5, 2.5, 2)
        moved = cv2.warpAffine(
            part, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), gray.shape[::-1]
        )
        out += (moved - part) * rng.uniform(-45, 45)
    np.copyto(gray, np.clip(out, 0, 255).astype(np.uint8))


def _wear(rng: np.random.Generator, part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the paint that is left on the characters: mostly all of it."""
    pick = rng.random()
    if pick < WORN:
        small = rng.normal(0, 1, (9, 24)).astype(np.float32)
        spots = cv2.resize(small, part.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return part * np.clip(rng.uniform(0.6, 1.6) + spots * rng.uniform(0.3, 0.8), 0.3, 1)
    if pick < WORN + OUTLINE:
        core = cv2.erode(part, np.ones((5, 5), np.uint8))
        return part - core * np.float32(rng.uniform(0.5, 0.9))
    return part


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

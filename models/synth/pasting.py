"""Plates pasted onto a picture: on panels, in holders, turned in space, half in the shade."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.backdrops import HEIGHT_PX, WIDTH_PX, Backdrop, Gray
from models.synth.bodies import PAINTS
from models.synth.faces import draw_face, write
from models.synth.plates import RenderedPlate, render_plate
from models.synth.roads import mottle
from models.synth.space import Colour, Points, darken, fill, paste

RECESSED, LAMPS = 0.35, 0.7
"""Of pasted plates: in a recess; of those, between lamps."""

Place = Callable[[float, float, tuple[float, float]], Points]
"""Gives the corners of half a width, half a height and a centre, in widths of the plate."""


def plate_width(rng: np.random.Generator) -> float:
    """Return a plate's width in pixels: mostly 40 to 120, seldom 18 or 240."""
    return float(np.clip(np.exp(rng.normal(np.log(72), 0.55)), 18, 240))


def worn_plate(rng: np.random.Generator) -> RenderedPlate:
    """Return a plate whose tones are those of some light, dirt and age."""
    plate = render_plate(rng)
    gray = plate.gray.astype(np.float32)
    if rng.random() < 0.3:
        low, high = rng.uniform(0, 80), rng.uniform(130, 255)
        gray = low + gray * ((high - low) / 255)
    if rng.random() < 0.3:
        gray = gray * np.linspace(*rng.uniform(0.5, 1.1, 2), gray.shape[1], dtype=np.float32)
    if rng.random() < 0.35:
        _cover_rim(gray, rng)
    return replace(plate, gray=np.clip(gray, 0, 255).astype(np.uint8))


def _cover_rim(gray: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Paint a holder over the plate's rim, as dealers screw on: the plate ends where it ends."""
    width = gray.shape[1]
    tone = float(rng.uniform(10, 245))
    side = int(width * rng.uniform(0.01, 0.03)) + 1
    top, bottom = (int(width * v) + 1 for v in rng.uniform(0.01, 0.05, 2))
    gray[:top] = gray[-bottom:] = tone
    gray[:, :side] = gray[:, -side:] = tone


def paste_plates(
    rng: np.random.Generator, backdrop: Backdrop, *, cover: bool
) -> tuple[Gray, list[tuple[Points, Gray]]]:
    """Return the backdrop with plates on panels anywhere, or over its own plates' places."""
    gray = backdrop.gray.copy()
    _add_lettering(gray, rng)
    drawn: list[tuple[Points, Gray]] = []
    places = backdrop.plates if cover else np.empty((0, 4), np.float32)
    for box in places:
        width = float(box[2] - box[0]) * rng.uniform(1.02, 1.2)
        middle = box.reshape(2, 2).mean(axis=0)
        quad = _paste_plate(gray, rng, middle, width, turn=0.4, panel=False)
        drawn.append((quad, cut_patch(gray, quad).copy()))
    for _ in range(int(rng.choice((0, 1, 2, 3, 4), p=(0.12, 0.3, 0.3, 0.18, 0.1)))):
        width = plate_width(rng)
        middle = rng.uniform(-0.02, 1.02, 2) * [WIDTH_PX, HEIGHT_PX]
        apart = [np.linalg.norm(quad.mean(axis=0) - middle) for quad, _ in drawn]
        widths = [np.ptp(quad[:, 0]) for quad, _ in drawn]
        if any(gap < 1.6 * max(width, other) for gap, other in zip(apart, widths, strict=True)):
            continue
        quad = _paste_plate(gray, rng, middle, width, turn=1.0, panel=rng.random() < 0.7)
        drawn.append((quad, cut_patch(gray, quad).copy()))
    return gray, drawn


def _paste_plate(
    gray: Gray,
    rng: np.random.Generator,
    middle: NDArray[np.float64],
    width_px: float,
    *,
    turn: float,
    panel: bool,
) -> Points:
    """Paste one plate, perhaps on a body panel and in a holder; return its corners."""
    plate = worn_plate(rng)
    ratio = plate.gray.shape[0] / plate.gray.shape[1]
    angles = turn * np.clip(rng.normal(0, (0.2, 0.32, 0.07)), -0.75, 0.75)
    far = float(rng.uniform(6, 40))

    def seen(half_width: float, half_height: float, centre: tuple[float, float], /) -> Points:
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]
        return _turned(square + centre, angles, far) * width_px + middle

    if panel:
        _paste_panel(gray, rng, seen, ratio)
    if rng.random() < RECESSED:
        _paste_recess(gray, rng, seen, ratio)
    quad = seen(0.5, 0.5 * ratio, (0, 0))
    if rng.random() < 0.55:
        border = rng.uniform(0.0, 0.02)
        fill(
            gray,
            seen(0.5 + border, 0.5 * ratio + border * rng.uniform(0.5, 1.8), (0, 0)),
            (float(rng.uniform(10, 245)),),
        )
    paste(gray, plate.gray, quad)
    if rng.random() < 0.2:
        _cast_shadow(gray, rng, quad)
    return quad


def _turned(flat: Points, angles: NDArray[np.float64], far: float) -> Points:
    """Return flat points (N, 2) turned in space (pitch, yaw, roll) and seen from `far` widths."""
    points = np.concatenate([flat, np.zeros((len(flat), 1))], axis=1)
    turn, _ = cv2.Rodrigues(np.array([0, 0, angles[2]]))
    for axis, angle in ((0, angles[0]), (1, angles[1])):
        vector = np.zeros(3)
        vector[axis] = angle
        turn = cv2.Rodrigues(vector)[0] @ turn
    points = points @ turn.T
    return points[:, :2] * far / (far + points[:, 2:])


def _paste_panel(gray: Gray, rng: np.random.Generator, seen: Place, ratio: float) -> None:
    """Paste a vehicle's face, or a plain lined panel, behind the plate's place."""
    colour: Colour = PAINTS[rng.integers(len(PAINTS))]
    if rng.random() < 0.5:
        face = draw_face(rng, width_m=1.75, height_m=0.75, colour=colour, front=rng.random() < 0.4)
        texture = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY)
        half = (rng.uniform(2.3, 3.0), rng.uniform(0.9, 1.4))
        centre = (rng.uniform(-0.3, 0.3), rng.uniform(-0.4, 0.4))
    else:
        size = (int(rng.uniform(40, 120)), int(rng.uniform(80, 200)))
        tone = np.linspace(*rng.uniform(10, 240, 2), size[0])[:, None] + np.zeros(size)
        texture = np.clip(tone + 4 * mottle(rng, size, 25), 0, 255).astype(np.uint8)
        for _ in range(int(rng.integers(0, 5))):
            row = int(rng.integers(0, size[0] - 2))
            texture[row : row + int(rng.integers(1, 7))] = rng.integers(0, 255)
        half = (rng.uniform(0.6, 2.0), rng.uniform(0.6, 2.0) * ratio + 0.1)
        centre = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1))
    paste(gray, texture, seen(*half, centre))


def _paste_recess(gray: Gray, rng: np.random.Generator, seen: Place, ratio: float) -> None:
    """Paste the recess around a plate, mostly with lamps that end level with it on both sides."""
    half = (rng.uniform(0.52, 0.95), 0.5 * ratio * rng.uniform(1.0, 1.5))
    tone = np.linspace(*rng.uniform(5, 250, 2), 24)[:, None] + np.zeros((24, 48))
    paste(gray, tone.astype(np.uint8), seen(*half, (0.0, rng.normal(0, 0.06) * ratio)))
    if rng.random() < LAMPS:
        gap, wide = rng.uniform(0.0, 0.14), rng.uniform(0.06, 0.45)
        high = 0.5 * ratio * rng.uniform(0.6, 1.25)
        glass = _draw_lamp(rng)
        for side in (-1, 1):
            paste(gray, glass[:, ::side], seen(wide / 2, high, (side * (0.5 + gap + wide / 2), 0)))


def _draw_lamp(rng: np.random.Generator) -> Gray:
    """Return lamp glass: ribs or squares over a bright and a dark end."""
    glass = np.linspace(*rng.uniform(10, 255, 2), 40)[None] + np.zeros((40, 40))
    ribs = np.sin(np.arange(40) * rng.uniform(0.4, 2.5)) * rng.uniform(0, 60)
    glass += ribs if rng.random() < 0.5 else ribs[:, None]
    rim = int(rng.integers(0, 4))
    if rim:
        glass[:rim] = glass[-rim:] = glass[:, :rim] = glass[:, -rim:] = rng.uniform(0, 255)
    return np.clip(glass, 0, 255).astype(np.uint8)


def _add_lettering(gray: Gray, rng: np.random.Generator) -> None:
    """Add words and signs that are no plates."""
    for _ in range(int(rng.integers(0, 4))):
        height = float(rng.uniform(8, 40))
        where = rng.uniform(0, 0.9, 2) * [WIDTH_PX, HEIGHT_PX]
        tone = float(rng.uniform(0, 255))
        if rng.random() < 0.5:
            wide, lines = height * rng.uniform(1.0, 9.0), int(rng.integers(2, 5))
            sign = np.array([[0, 0], [wide, 0], [wide, 1.3 * height], [0, 1.3 * height]])
            fill(gray, sign + where, (255 - tone,))
            for line in range(lines):
                down = (line + 0.85) * height / lines
                write(
                    gray,
                    rng,
                    (where[0] + 2, where[1] + down),
                    0.6 * height / lines,
                    (tone,),
                    (2, 9),
                )
        else:
            write(gray, rng, (where[0], where[1]), height, (tone,), (3, 11))


def _cast_shadow(gray: Gray, rng: np.random.Generator, quad: Points) -> None:
    """Darken one side of a line through the plate."""
    middle, size = quad.mean(axis=0), 1.2 * float(np.ptp(quad[:, 0]))
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * size
    across = np.array([-along[1], along[0]]) * rng.uniform(0.3, 1.0)
    shape = np.array(
        [middle - along, middle + along, middle + along + across, middle - along + across]
    )
    darken(gray, shape, to=float(rng.uniform(0.3, 0.8)), blur_px=float(rng.uniform(0.5, 3)))


def bounds(quad: Points) -> NDArray[np.float64]:
    """Return the upright box around a quad."""
    return np.concatenate([quad.min(axis=0), quad.max(axis=0)])


def cut_patch(picture: NDArray[np.uint8], quad: Points) -> NDArray[np.uint8]:
    """Return the part of the picture inside the quad's upright box."""
    x1, y1, x2, y2 = np.maximum(bounds(quad), 0).astype(int)
    return picture[y1:y2, x1:x2]

"""Draw the flat rear or front of an imaginary vehicle: lamps, grille, bumper, lettering."""

import cv2
import numpy as np

from models.synth.space import Colour, Picture, fill

LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789"
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
PIXELS_PER_METRE = 240


def draw_face(
    rng: np.random.Generator, *, width_m: float, height_m: float, colour: Colour, front: bool
) -> Picture:
    """Return the texture (H, W, 3) of a face, top edge first, without its plate."""
    size = (round(height_m * PIXELS_PER_METRE), round(width_m * PIXELS_PER_METRE))
    face = np.empty((*size, 3), np.uint8)
    face[:] = np.clip(_shade(*size)[..., None] * np.array(colour), 0, 255).astype(np.uint8)
    _draw_seams(face, rng)
    if front:
        _draw_grille(face, rng)
    _draw_lamps(face, rng, front=front)
    _draw_bumper(face, rng, front=front)
    _draw_badges(face, rng, front=front)
    return face


def write(
    picture: Picture,
    rng: np.random.Generator,
    where: tuple[float, float],
    height_px: float,
    colour: Colour,
    letters: tuple[int, int] = (3, 8),
) -> None:
    """Write a made-up word at `where` (left, base line), as makers and stickers do."""
    word = "".join(rng.choice(list(LETTERS), rng.integers(*letters)))
    font = int(rng.choice(FONTS))
    thickness = max(1, round(height_px * rng.uniform(0.08, 0.2)))
    at = (round(where[0]), round(where[1]))
    cv2.putText(picture, word, at, font, height_px / 22, colour, thickness, cv2.LINE_AA)


def _shade(height: int, width: int) -> np.ndarray:
    """Return brightness factors: rounder at the sides, lighter where the sky is mirrored."""
    across = np.abs(np.linspace(-1, 1, width)) ** 4
    down = np.linspace(0, 1, height)[:, None]
    return (1.05 - 0.22 * down + 0.10 * np.exp(-(((down - 0.08) / 0.06) ** 2))) * (1 - 0.3 * across)


def _box(left: float, top: float, right: float, bottom: float, face: Picture) -> np.ndarray:
    """Return the pixels of a rectangle given in shares of the face."""
    height, width = face.shape[:2]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return corners * [width, height]


def _mirror(pixels: np.ndarray, face: Picture) -> np.ndarray:
    """Return the pixels mirrored about the middle of the face."""
    return np.stack([face.shape[1] - pixels[:, 0], pixels[:, 1]], axis=1)


def _draw_seams(face: Picture, rng: np.random.Generator) -> None:
    """Draw the gaps between panels."""
    dark = tuple(float(v) * 0.45 for v in face.mean(axis=(0, 1)))
    line = float(rng.uniform(0.44, 0.56))
    fill(face, _box(0, line, 1, line + 0.015, face), dark)
    for side in (0.17, 0.83):
        fill(face, _box(side - 0.004, 0, side + 0.004, line, face), dark)


def _draw_lamps(face: Picture, rng: np.random.Generator, *, front: bool) -> None:
    """Draw one lamp at each side, with a bright core and a rim."""
    inner, top, bottom = rng.uniform(0.15, 0.27), rng.uniform(0.06, 0.16), rng.uniform(0.36, 0.46)
    lamp = _box(0.005, top, inner, bottom, face)
    lamp[1, 1] += rng.uniform(0, 0.12) * face.shape[0]
    shell: Colour = (200, 196, 190) if front else (30, 24, rng.uniform(110, 180))
    core: Colour = (250, 250, 245) if front else (60, 60, rng.uniform(190, 250))
    middle = lamp.mean(axis=0)
    for shape in (lamp, _mirror(lamp, face)):
        centre = shape.mean(axis=0)
        fill(face, centre + (shape - centre) * 1.07, (25, 25, 25))
        fill(face, shape, shell)
        fill(face, centre + (shape - centre) * [0.55, 0.5], core)
    if not front and rng.random() < 0.5:
        white = middle + (lamp - middle) * [0.9, 0.18] + [0, 0.13 * face.shape[0]]
        for shape in (white, _mirror(white, face)):
            fill(face, shape, (205, 205, 205))


def _draw_grille(face: Picture, rng: np.random.Generator) -> None:
    """Draw a dark grille with bars: the plate look-alike of many detectors."""
    left, top, bottom = rng.uniform(0.25, 0.33), rng.uniform(0.08, 0.16), rng.uniform(0.34, 0.42)
    fill(face, _box(left, top, 1 - left, bottom, face), (28, 28, 28))
    bars = int(rng.integers(2, 7))
    tone = float(rng.uniform(60, 190))
    for place in np.linspace(top, bottom, bars + 2)[1:-1]:
        fill(face, _box(left, place - 0.008, 1 - left, place + 0.008, face), (tone, tone, tone))


def _draw_bumper(face: Picture, rng: np.random.Generator, *, front: bool) -> None:
    """Draw the bumper's lower lip, and what hangs there."""
    lip = float(rng.uniform(0.76, 0.88))
    fill(face, _box(0, lip, 1, 1, face), (34, 34, 34))
    if front:
        fill(face, _box(0.22, lip - 0.04, 0.78, 0.98, face), (18, 18, 18))
    for side in (0.1, 0.9):
        tone: Colour = (215, 215, 210) if front else (35, 35, 150)
        fill(face, _box(side - 0.04, lip + 0.02, side + 0.04, lip + 0.08, face), tone)
    if not front and rng.random() < 0.5:
        where = (round(0.24 * face.shape[1]), round(0.95 * face.shape[0]))
        cv2.ellipse(face, where, (11, 6), 0, 0, 360, (140, 140, 140), -1, cv2.LINE_AA)
        cv2.ellipse(face, where, (8, 4), 0, 0, 360, (15, 15, 15), -1, cv2.LINE_AA)


def _draw_badges(face: Picture, rng: np.random.Generator, *, front: bool) -> None:
    """Draw the maker's badge, model lettering, and now and then a sticker."""
    height, width = face.shape[:2]
    chrome: Colour = (195, 195, 195)
    middle = (width // 2, round(height * (0.22 if front else 0.07)))
    cv2.ellipse(face, middle, (11, 8), 0, 0, 360, chrome, 2, cv2.LINE_AA)
    if front:
        return
    if rng.random() < 0.7:
        write(face, rng, (0.68 * width, 0.2 * height), rng.uniform(7, 11), chrome, (2, 6))
    if rng.random() < 0.4:
        write(face, rng, (0.2 * width, 0.2 * height), rng.uniform(7, 11), chrome, (3, 9))
    if rng.random() < 0.35:
        left = rng.choice((rng.uniform(0.04, 0.16), rng.uniform(0.64, 0.74)))
        top = rng.uniform(0.56, 0.62)
        fill(face, _box(left, top, left + 0.2, top + 0.13, face), (225, 230, 235))
        for line in (0.055, 0.11):
            where = ((left + 0.02) * width, (top + line) * height)
            write(face, rng, where, 5, (60, 40, 40), (4, 12))

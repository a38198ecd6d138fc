"""Cut a training batch from the material: crops as wrong as a detector's, with their labels."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.reader.crops import PLATE_ON_CANVAS, Material
from models.reader.evaluate import (
    ALPHABET,
    BLANK,
    CROP_HEIGHT_PX,
    CROP_WIDTH_PX,
    plate_in_crop,
)
from models.reader.network import COLUMNS

IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """How wrong the crops are; lengths are parts of the plate's width, the rest are chances.

    Matched to the detector: its corners are 3 % off in the middle, 7 % in the worst tenth, and
    rather inside the plate than outside.
    """

    corner_sigma: float = 0.035
    scale: tuple[float, float] = (-0.09, 0.08)
    shift_sigma: float = 0.02
    upright_share: float = 0.55
    """How much an error's part of the height grows with the plate's aspect."""
    wild: float = 0.07
    """Corners far off: all errors `wild_factor` times as large."""
    wild_factor: float = 2.0
    wide: float = 0.08
    """A lamp or the rim of a recess taken for the plate's end: the crop is wider by `widening`."""
    widening: tuple[float, float] = (0.1, 0.5)
    rolled: float = 0.3
    """A box around a rolled or sheared plate."""
    rolled_sigma: float = 0.16
    sheared_sigma: float = 0.07
    bare: float = 0.15
    """The picture ends at the plate's edges."""
    inverted: float = 0.1
    noise: float = 0.3


def jitter_matrix(
    rng: np.random.Generator, jitter: Jitter, aspect: float = 2.0
) -> NDArray[np.float64]:
    """Return the map canvas to crop for corners as wrong as a detector's.

    An error of a pixel is a larger part of the height than of the width of a long plate.
    """
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    width, height = x2 - x1, y2 - y1
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    ratio = np.array([1.0, 0.5 + jitter.upright_share * aspect])
    grow = rng.uniform(*jitter.scale) + rng.normal(0, 0.015, 2) * ratio
    corners = (unit - 0.5) * (1 + grow) + 0.5
    if rng.random() < jitter.wide:
        more = rng.uniform(*jitter.widening)
        corners[:, 0] += (unit[:, 0] - rng.choice((0.0, 0.5, 1.0))) * more
    if rng.random() < jitter.rolled:
        corners[:, 1] += (unit[:, 0] - 0.5) * rng.normal(0, jitter.rolled_sigma)
        corners[:, 0] += (unit[:, 1] - 0.5) * rng.normal(0, jitter.sheared_sigma)
    wild = jitter.wild_factor if rng.random() < jitter.wild else 1.0
    corners += rng.normal(0, jitter.shift_sigma, 2) * ratio * wild
    sigma = jitter.corner_sigma * rng.uniform(0.2, 1.2) * wild
    corners += rng.normal(0, sigma, (4, 2)) * ratio
    on_canvas = corners * (width, height) + (x1, y1)
    return cv2.getPerspectiveTransform(on_canvas.astype(np.float32), plate_in_crop())


def cut_crop(
    rng: np.random.Generator,
    canvas: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    jitter: Jitter,
) -> NDArray[np.uint8]:
    """Return the crop; by chance as if the picture ended at the plate's edges."""
    size_px = (CROP_WIDTH_PX, CROP_HEIGHT_PX)
    left, top, right, bottom = 0, 0, canvas.shape[1], canvas.shape[0]
    if rng.random() < jitter.bare:
        x1, y1, x2, y2 = np.rint(PLATE_ON_CANVAS + rng.normal(0, 1.2, 4)).astype(int)
        left, top, right, bottom = x1, y1, x2, y2
    moved = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    part = canvas[top:bottom, left:right]
    return cv2.warpPerspective(part, moved, size_px, borderMode=cv2.BORDER_REPLICATE)


def spoil(rng: np.random.Generator, crop: NDArray[np.uint8], jitter: Jitter) -> None:
    """Invert or roughen a crop in place, by chance."""
    if rng.random() < jitter.inverted:
        np.subtract(255, crop, out=crop)
    if rng.random() < jitter.noise:
        grain = rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(1, 8))
        np.copyto(crop, np.clip(np.rint(crop + grain), 0, 255).astype(np.uint8))


def column_labels(text: str, x_px: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a label for each column.

    It is the character at its centre, nothing (`IGNORED`) beside it, blank elsewhere.
    """
    labels = np.full(COLUMNS, BLANK, np.int64)
    if not text:
        return labels
    middles = x_px * COLUMNS / CROP_WIDTH_PX - 0.5
    labels[np.abs(np.arange(COLUMNS)[:, None] - middles[None]).min(1) < 1.3] = IGNORED
    for character, middle in zip(text, middles, strict=True):
        if 0 <= round(middle) < COLUMNS:
            labels[round(middle)] = ALPHABET.index(character)
    return labels


@dataclass(frozen=True, slots=True)
class Batch:
    """`crops` (B, 1, 48, 128) uint8, all characters in one row, their counts, (B, 32) labels."""

    crops: Tensor
    characters: Tensor
    lengths: Tensor
    columns: Tensor

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        parts = (self.crops, self.characters, self.lengths, self.columns)
        return Batch(*(part.to(device) for part in parts))


def make_batch(
    rng: np.random.Generator, material: Material, indices: NDArray[np.int64], jitter: Jitter
) -> Batch:
    """Cut one jittered crop from each canvas."""
    crops = np.empty((len(indices), 1, CROP_HEIGHT_PX, CROP_WIDTH_PX), np.uint8)
    columns = np.empty((len(indices), COLUMNS), np.int64)
    texts = [material.texts[i].decode() for i in indices]
    for k, (index, text) in enumerate(zip(indices, texts, strict=True)):
        matrix = jitter_matrix(rng, jitter, float(material.aspects[index]))
        crops[k, 0] = cut_crop(rng, material.canvas(index), matrix, jitter)
        spoil(rng, crops[k, 0], jitter)
        centres = material.centres[index, None, : len(text)].astype(np.float64)
        places = cv2.perspectiveTransform(centres, matrix)[0, :, 0] if text else np.zeros(0)
        columns[k] = column_labels(text, places)
    characters = [ALPHABET.index(c) for text in texts for c in text]
    return Batch(
        torch.from_numpy(crops), torch.tensor(characters),
        torch.tensor([len(t) for t in texts]), torch.from_numpy(columns),
    )  # fmt: skip

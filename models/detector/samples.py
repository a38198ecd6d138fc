"""Turn composed scenes into batches: augmented pictures with what each cell should say."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detector.network import STRIDE

WIDTH_PX, HEIGHT_PX = 416, 320
ROWS, COLUMNS = HEIGHT_PX // STRIDE, WIDTH_PX // STRIDE
DRAWN = 1
BATCH = 16
TINY_PX = 18.0
NEIGHBOURS = [(0, 0, 1.0), *((dx, dy, 0.15) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)]
"""Cells around a plate's centre that learn its corners, with their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """The arrays that `models.synth.scenes` wrote."""

    images: NDArray[np.uint8]
    corners: NDArray[np.float32]
    kinds: NDArray[np.int8]
    ignored: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pictures with what each cell should say."""

    images: Tensor
    heat: Tensor
    """(B, rows, columns), 1 at a plate's centre."""
    counted: Tensor
    """(B, rows, columns), 0 where nobody knows."""
    centre_cells: Tensor
    """(N, 3) picture, row, column of cells that learn a plate's corners."""
    centre_corners: Tensor
    """(N, 4, 2)."""
    centre_weights: Tensor
    corner_cells: Tensor
    """(M, 4) picture, which corner, row, column of cells that learn where that corner is."""
    corner_places: Tensor
    """(M, 2)."""
    corner_weights: Tensor

    def to(self, device: str) -> "Batch":
        """Return the batch on another device."""
        return Batch(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})


def load_scenes(folder: Path) -> Scenes:
    """Return the arrays under `folder`, mapped, not read."""
    names = ("images", "corners", "kinds", "ignored")
    return Scenes(**{name: np.load(folder / f"{name}.npy", "r") for name in names})


def augment(
    rng: np.random.Generator, image: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], bool]:
    """Return a turned, scaled, mirrored and relit window, its points, and whether mirrored."""
    scale = np.exp(rng.uniform(np.log(0.7), np.log(1.45)))
    angle = np.clip(rng.normal(0, 0.05), -0.15, 0.15)
    mirrored = bool(rng.random() < 0.5)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([-1, 1])
    size = np.array(image.shape[::-1])
    slack = np.maximum(0, scale * size - [WIDTH_PX, HEIGHT_PX]) / 2 + 20
    middle = np.array([WIDTH_PX, HEIGHT_PX]) / 2 + rng.uniform(-1, 1, 2) * slack
    shift = middle - turn @ (size / 2)
    # OpenCV counts from pixel centres, the points from pixel edges.
    warp = np.column_stack([turn, shift + turn @ [0.5, 0.5] - 0.5])
    tone = int(rng.integers(0, 256))
    window = cv2.warpAffine(
        image, warp, (WIDTH_PX, HEIGHT_PX), flags=cv2.INTER_LINEAR, borderValue=tone
    )
    return _relight(rng, window), (points @ turn.T + shift).astype(np.float32), mirrored


def _relight(rng: np.random.Generator, window: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture under another light, sometimes with noise."""
    levels = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.25))
    levels = levels * rng.uniform(0.7, 1.25) + rng.uniform(-0.08, 0.08)
    window = cv2.LUT(window, np.clip(levels * 255, 0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        noise = rng.standard_normal(window.shape, np.float32) * np.float32(rng.uniform(1, 8))
        window = np.clip(window + noise, 0, 255).astype(np.uint8)
    return window


def make_batches(scenes: tuple[Scenes, ...], *, seed: int, first: int = 0) -> Iterator[Batch]:
    """Yield batches of augmented scenes without end.

    Each batch follows from `seed` and its number alone, so a run that goes on at the batch `first`
    sees what it would have seen without the stop.
    """
    places = [(part, row) for part, scene in enumerate(scenes) for row in range(len(scene.images))]
    epoch_batches = len(places) // BATCH
    for number in itertools.count(first):
        epoch, place = divmod(number, epoch_batches)
        order = np.random.default_rng((seed, 0, epoch)).permutation(len(places))
        rng = np.random.default_rng((seed, 1, number))
        chosen = [places[index] for index in order[place * BATCH : (place + 1) * BATCH]]
        yield _collate([_sample(rng, scenes[part], row) for part, row in chosen])


def _sample(rng: np.random.Generator, scenes: Scenes, row: int) -> tuple[np.ndarray, ...]:
    """Return picture, heat, counted, corners (n, 4, 2) and kinds (n,) of one scene."""
    kinds = scenes.kinds[row]
    quads = scenes.corners[row][kinds > 0]
    boxes = scenes.ignored[row]
    boxes = boxes[boxes[:, 2] > boxes[:, 0]]
    ignored = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    points = np.concatenate([quads, ignored]).reshape(-1, 2)
    image, moved, mirrored = augment(rng, scenes.images[row], points)
    quads, ignored = np.split(moved.reshape(-1, 4, 2), [len(quads)])
    if mirrored:
        quads = quads[:, [1, 0, 3, 2]]
    seen = np.array([_is_seen(quad) for quad in quads], bool)
    counted = np.ones((ROWS, COLUMNS), np.float32)
    for quad in (*ignored, *quads[~seen]):
        low, high = quad.min(axis=0) / STRIDE, quad.max(axis=0) / STRIDE
        (x0, y0), (x1, y1) = np.maximum(np.floor(low), 0).astype(int), np.ceil(high).astype(int)
        counted[y0 : max(y1, 0), x0 : max(x1, 0)] = 0
    quads, kinds = quads[seen], kinds[kinds > 0][seen]
    heat = np.zeros((ROWS, COLUMNS), np.float32)
    for quad in quads:
        np.maximum(heat, _bump(quad), out=heat)
    counted[heat > 0.3] = 1
    return image, heat, counted, quads, kinds


def _is_seen(quad: NDArray[np.float32]) -> bool:
    """Say whether a plate is large enough, and mostly inside the window."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    inside = np.minimum(high, [WIDTH_PX, HEIGHT_PX]) - np.maximum(low, 0)
    middle = quad.mean(axis=0)
    within = (middle >= 0).all() and (middle < [WIDTH_PX, HEIGHT_PX]).all()
    share = np.prod(np.maximum(inside, 0) / (high - low))
    return bool(within and share > 0.65 and high[0] - low[0] >= TINY_PX)


def _bump(quad: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a hill on the heat map that is 1 in the cell of the plate's middle."""
    size = np.ptp(quad, axis=0) / STRIDE
    x, y = np.floor(quad.mean(axis=0) / STRIDE)
    across = ((np.arange(COLUMNS) - x) / max(0.6, 0.11 * size[0])) ** 2
    down = ((np.arange(ROWS) - y) / max(0.5, 0.18 * size[1])) ** 2
    return np.exp(-0.5 * (across[None] + down[:, None])).astype(np.float32)


def _collate(samples: list[tuple[np.ndarray, ...]]) -> Batch:
    """Return the samples as one batch with lists of the cells that learn corners."""
    centres, corners = [], []
    for index, (_, _, _, quads, kinds) in enumerate(samples):
        for quad, kind in zip(quads, kinds, strict=True):
            trust = 1.0 if kind == DRAWN else 0.15
            x, y = np.floor(quad.mean(axis=0) / STRIDE).astype(int)
            for dx, dy, weight in NEIGHBOURS:
                if 0 <= x + dx < COLUMNS and 0 <= y + dy < ROWS:
                    centres.append((index, y + dy, x + dx, *quad.ravel(), weight * trust))
            if kind == DRAWN:
                corners += _corner_rows(index, quad)
    table = torch.from_numpy(np.array(centres, np.float32).reshape(-1, 12))
    fine = torch.from_numpy(np.array(corners, np.float32).reshape(-1, 7))
    images, heat, counted = (
        torch.from_numpy(np.stack(part)) for part in list(zip(*samples, strict=False))[:3]
    )
    return Batch(
        images=images[:, None],
        heat=heat,
        counted=counted,
        centre_cells=table[:, :3].long(),
        centre_corners=table[:, 3:11].reshape(-1, 4, 2),
        centre_weights=table[:, 11],
        corner_cells=fine[:, :4].long(),
        corner_places=fine[:, 4:6],
        corner_weights=fine[:, 6],
    )


def _corner_rows(index: int, quad: NDArray[np.float32]) -> list[tuple[float, ...]]:
    """Return (picture, corner, row, column, x, y, weight) for the cells around each corner."""
    width = float(np.ptp(quad[:, 0]))
    reach = 2 if width > 110 else 1
    weight = float(np.clip(64 / width, 0.4, 1.6)) / (2 * reach + 1) ** 2
    rows = []
    for corner, (x, y) in enumerate(quad):
        column, row = int(np.floor(x / STRIDE)), int(np.floor(y / STRIDE))
        for dx in range(max(column - reach, 0), min(column + reach + 1, COLUMNS)):
            rows += [
                (index, corner, dy, dx, x, y, weight)
                for dy in range(max(row - reach, 0), min(row + reach + 1, ROWS))
            ]
    return rows

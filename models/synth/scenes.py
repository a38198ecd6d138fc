"""Compose pictures with plates whose corners are known, to train the detector.

    python -m models.synth.scenes OUT --count 20000 --seed 1 --pictures DATA --processes 2

DATA is a folder with `index.csv` and `ignore.csv`; only its pictures marked for training are
used, as backgrounds. Without it every background is painted.
"""

import argparse
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.backdrops import (
    HEIGHT_PX,
    WIDTH_PX,
    Backdrop,
    Boxes,
    Gray,
    choose_backdrop,
    load_backdrops,
)
from models.synth.pasting import bounds, cut_patch, paste_plates, plate_width, worn_plate
from models.synth.space import Camera, Points
from models.synth.vehicles import Pose, draw_vehicle, make_vehicle

MAX_PLATES, MAX_IGNORED = 10, 16
DRAWN, BOXED = 1, 2
"""Kinds of label: true corners, or the corners of a hand-drawn upright box."""
TINY_PX = 20.0
"""Narrower plates are nobody's to find: neither plate nor background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture with what the detector should say about it."""

    gray: Gray
    corners: NDArray[np.float32]
    """(N, 4, 2) TL, TR, BR, BL in pixels; whole numbers are the edges between pixels."""
    kinds: NDArray[np.int8]
    """(N,) DRAWN or BOXED."""
    ignored: Boxes


def compose_scene(rng: np.random.Generator, backdrops: tuple[Backdrop, ...]) -> Scene:
    """Return one random scene of WIDTH_PX by HEIGHT_PX."""
    backdrop = choose_backdrop(rng, backdrops)
    style = rng.choice(("vehicles", "pasted", "covered"), p=(0.43, 0.35, 0.22))
    if style == "vehicles":
        gray, drawn = _draw_vehicles(rng, backdrop.gray)
    else:
        gray, drawn = paste_plates(rng, backdrop, cover=style == "covered")
    quads = [quad for quad, patch in drawn if _same(cut_patch(gray, quad), patch)]
    hidden = [quad for quad, patch in drawn if not _same(cut_patch(gray, quad), patch)]
    boxed = np.empty((0, 4), np.float32) if style == "covered" else backdrop.plates
    old = [_corners(box) for box in boxed]
    intact = [_same(cut_patch(gray, quad), cut_patch(backdrop.gray, quad)) for quad in old]
    hidden += [quad for quad, same in zip(old, intact, strict=True) if not same]
    old = [quad for quad, same in zip(old, intact, strict=True) if same]
    labels = [(quad, DRAWN) for quad in quads] + [(quad, BOXED) for quad in old]
    kept = [(quad, kind) for quad, kind in labels if _is_seen(quad)][:MAX_PLATES]
    unclear = [quad for quad, _ in labels if not _is_seen(quad)] + hidden
    ignored = [bounds(quad) for quad in unclear] + list(backdrop.ignored)
    return Scene(
        gray=_photograph(gray, rng),
        corners=np.array([quad for quad, _ in kept], np.float32).reshape(-1, 4, 2),
        kinds=np.array([kind for _, kind in kept], np.int8),
        ignored=np.array(ignored[:MAX_IGNORED], np.float32).reshape(-1, 4),
    )


def _draw_vehicles(
    rng: np.random.Generator, backdrop: Gray
) -> tuple[Gray, list[tuple[Points, Gray]]]:
    """Return `backdrop` with vehicles before it, and each plate's corners and pixels."""
    picture = cv2.cvtColor(backdrop, cv2.COLOR_GRAY2BGR)
    distance = float(rng.uniform(5, 25))
    height = float(rng.uniform(0.7, 1.0 + 0.28 * distance))
    focal = plate_width(rng) * distance / 0.31
    away = float(np.clip(rng.normal(0, 0.1), -0.3, 0.3) * min(1.0, 500 / focal))
    camera = Camera(
        x_m=0.0,
        height_m=height,
        yaw_rad=away,
        pitch_rad=float(
            np.arctan2(height - 0.7, distance) + rng.uniform(-0.25, 0.25) * 384 / focal
        ),
        roll_rad=float(rng.normal(0, 0.04)),
        focal_px=focal,
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
    )
    heading = float(np.clip(rng.normal(0, 0.28), -0.75, 0.75))
    front = rng.random() < 0.4
    drawn = []
    poses = [_pose(rng, index, distance, heading) for index in range(int(rng.integers(1, 5)))]
    for pose in sorted(poses, key=lambda pose: -pose.y_m):
        vehicle = make_vehicle(
            rng, worn_plate(rng), front=bool(front), holder_m=float(rng.uniform(0, 0.006))
        )
        quad = draw_vehicle(picture, vehicle, camera, pose)
        patch = cut_patch(picture, quad)
        drawn.append((quad, cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY) if patch.size else patch))
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8), drawn


def _pose(rng: np.random.Generator, index: int, distance: float, heading: float) -> Pose:
    """Return a place in traffic: the first vehicle ahead, the others around it."""
    if index == 0:
        return Pose(x_m=float(rng.normal(0, 0.4)), y_m=distance, yaw_rad=heading)
    side = float(rng.choice((-1, 1)) * rng.uniform(2.2, 4.5))
    ahead = distance + float(rng.uniform(-0.3, 0.8)) * distance
    turn = heading + float(rng.normal(0, 0.05))
    return Pose(x_m=side * float(rng.integers(1, 3)), y_m=max(3.0, ahead), yaw_rad=turn)


def _photograph(gray: Gray, rng: np.random.Generator) -> Gray:
    """Return the scene as a camera gives it: light, lens, motion, noise, compression."""
    levels = gray.astype(np.float32) / 255
    if rng.random() < 0.6:
        levels = levels ** np.float32(np.exp(rng.normal(0, 0.4)))
        levels = levels * np.float32(rng.uniform(0.45, 1.3)) + np.float32(rng.uniform(-0.06, 0.1))
    if rng.random() < 0.75:
        levels = cv2.GaussianBlur(levels, (0, 0), abs(rng.normal(0, 0.7)) + 0.3)
    if rng.random() < 0.15:
        levels = cv2.filter2D(levels, -1, _streak_kernel(rng))
    noise = abs(rng.normal(0, 0.018))
    levels = levels + np.float32(noise) * rng.standard_normal(gray.shape, dtype=np.float32)
    picture = np.clip(np.round(levels * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        coded = cv2.imencode(".jpg", picture, quality)[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return picture


def _streak_kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a short line to blur along, as a moving vehicle does."""
    length, angle = rng.uniform(1, 5), rng.uniform(0, np.pi)
    kernel = np.zeros((9, 9), np.float32)
    end = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    low, high = (tuple(int(v) for v in np.round(np.array([4, 4]) + s * end)) for s in (-1, 1))
    cv2.line(kernel, low, high, 1.0)
    return kernel / kernel.sum()


def _corners(box: NDArray[np.float32]) -> Points:
    """Return the corners of a box."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _is_seen(quad: Points) -> bool:
    """Say whether enough of a plate lies in the picture, and large enough, to be found."""
    x1, y1, x2, y2 = bounds(quad)
    wide = min(x2, WIDTH_PX) - max(x1, 0)
    high = min(y2, HEIGHT_PX) - max(y1, 0)
    share = max(0.0, wide) * max(0.0, high) / max(1e-6, (x2 - x1) * (y2 - y1))
    return bool(share > 0.7 and x2 - x1 >= TINY_PX)


def _same(now: Gray, before: Gray) -> bool:
    """Say whether nothing was painted over a patch since; one outside the picture is the same."""
    return not now.size or float(cv2.absdiff(now, before).mean()) < 1


def write_scenes(
    folder: Path, *, count: int, seed: int, pictures: Path | None, processes: int
) -> None:
    """Write `count` scenes into the arrays `images.npy`, `corners.npy`, … under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (shape, kind) in _arrays(count).items():
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
    # A forked OpenCV can wait for ever for threads that stayed behind in the parent.
    work = multiprocessing.get_context("spawn").Pool(processes)
    jobs = [(folder, seed, part, processes, count, pictures) for part in range(processes)]
    with work:
        work.starmap(_write_part, jobs)


def _arrays(count: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return the shape and element type of each array file."""
    return {
        "images": ((count, HEIGHT_PX, WIDTH_PX), np.uint8),
        "corners": ((count, MAX_PLATES, 4, 2), np.float32),
        "kinds": ((count, MAX_PLATES), np.int8),
        "ignored": ((count, MAX_IGNORED, 4), np.float32),
    }


def _write_part(
    folder: Path, seed: int, part: int, parts: int, count: int, pictures: Path | None
) -> None:
    """Write every `parts`-th scene; each has its own seed, so the split changes nothing."""
    cv2.setNumThreads(1)
    backdrops = load_backdrops(pictures) if pictures else ()
    files = {name: np.load(folder / f"{name}.npy", "r+") for name in _arrays(count)}
    for number in range(part, count, parts):
        scene = compose_scene(np.random.default_rng((seed, number)), backdrops)
        files["images"][number] = scene.gray
        files["corners"][number, : len(scene.corners)] = scene.corners
        files["kinds"][number, : len(scene.kinds)] = scene.kinds
        files["ignored"][number, : len(scene.ignored)] = scene.ignored
        if part == 0 and number % (50 * parts) == 0:
            print(f"\rscene {number} of {count}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Write scenes from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=Path, help="folder with index.csv and ignore.csv")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    write_scenes(
        args.folder,
        count=args.count,
        seed=args.seed,
        pictures=args.pictures,
        processes=args.processes,
    )


if __name__ == "__main__":
    main()

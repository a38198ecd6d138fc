"""Compose pictures with plates whose corners are known, to train the detector.

    python -m models.synth.scenes OUT --count 20000 --seed 1 --pictures DATA --processes 2

DATA is a folder with `index.csv` and `ignore.csv`; only its pictures marked for training are
used, as backgrounds. Without it every background is painted.
"""

import argparse
import csv
import multiprocessing
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.faces import draw_face, write
from models.synth.plates import RenderedPlate, render_plate
from models.synth.roads import mottle
from models.synth.space import Camera, Colour, Points, darken, fill, paste
from models.synth.vehicles import PAINTS, Pose, draw_vehicle, make_vehicle

Gray = NDArray[np.uint8]
Boxes = NDArray[np.float32]
"""(N, 4) x1, y1, x2, y2 in pixels."""

WIDTH_PX, HEIGHT_PX = 512, 384
MAX_PLATES, MAX_IGNORED = 10, 16
DRAWN, BOXED = 1, 2
"""Kinds of label: true corners, or the corners of a hand-drawn upright box."""
TINY_PX = 20.0
"""Narrower plates are nobody's to find: neither plate nor background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """A picture to stand plates before."""

    gray: Gray
    plates: Boxes
    ignored: Boxes


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
    backdrop = _choose_backdrop(rng, backdrops)
    style = rng.choice(("vehicles", "pasted", "covered"), p=(0.5, 0.38, 0.12))
    if style == "vehicles":
        gray, drawn = _draw_vehicles(rng, backdrop.gray)
    else:
        gray, drawn = _paste_plates(rng, backdrop, cover=style == "covered")
    quads = [quad for quad, patch in drawn if _same(_patch(gray, quad), patch)]
    hidden = [quad for quad, patch in drawn if not _same(_patch(gray, quad), patch)]
    boxed = np.empty((0, 4), np.float32) if style == "covered" else backdrop.plates
    old = [_corners(box) for box in boxed]
    intact = [_same(_patch(gray, quad), _patch(backdrop.gray, quad)) for quad in old]
    hidden += [quad for quad, same in zip(old, intact, strict=True) if not same]
    old = [quad for quad, same in zip(old, intact, strict=True) if same]
    labels = [(quad, DRAWN) for quad in quads] + [(quad, BOXED) for quad in old]
    kept = [(quad, kind) for quad, kind in labels if _is_seen(quad)][:MAX_PLATES]
    unclear = [quad for quad, _ in labels if not _is_seen(quad)] + hidden
    ignored = [_bounds(quad) for quad in unclear] + list(backdrop.ignored)
    return Scene(
        gray=_photograph(gray, rng),
        corners=np.array([quad for quad, _ in kept], np.float32).reshape(-1, 4, 2),
        kinds=np.array([kind for _, kind in kept], np.int8),
        ignored=np.array(ignored[:MAX_IGNORED], np.float32).reshape(-1, 4),
    )


def load_backdrops(folder: Path) -> tuple[Backdrop, ...]:
    """Return the training pictures of `folder`, at most 1280 pixels wide."""
    rows = defaultdict(list)
    with (folder / "index.csv").open() as lines:
        for row in csv.DictReader(lines):
            if row["use"].startswith("train"):
                rows[row["path"]].append(row)
    ignored = defaultdict(list)
    with (folder / "ignore.csv").open() as lines:
        for row in csv.DictReader(lines):
            ignored[row["path"]].append([float(row[key]) for key in ("x1", "y1", "x2", "y2")])
    return tuple(_load_backdrop(folder / path, rows[path], ignored[path]) for path in sorted(rows))


def _load_backdrop(path: Path, rows: list[dict[str, str]], ignored: list[list[float]]) -> Backdrop:
    """Return one picture with its boxes, shrunk when it is larger than a camera's."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scale = min(1.0, 1280 / max(gray.shape))
    plates = [[float(row[key]) for key in ("x1", "y1", "x3", "y3")] for row in rows if row["x1"]]
    if scale < 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Backdrop(
        gray=np.asarray(gray, np.uint8),
        plates=np.array(plates, np.float32).reshape(-1, 4) * np.float32(scale),
        ignored=np.array(ignored, np.float32).reshape(-1, 4) * np.float32(scale),
    )


def _choose_backdrop(rng: np.random.Generator, backdrops: tuple[Backdrop, ...]) -> Backdrop:
    """Return a crop of a picture, or a painted street, of the scene's size."""
    if not backdrops or rng.random() < 0.3:  # noqa: PLR2004
        empty = np.empty((0, 4), np.float32)
        return Backdrop(gray=_paint_street(rng), plates=empty, ignored=empty)
    return _crop(backdrops[rng.integers(len(backdrops))], rng)


def _crop(backdrop: Backdrop, rng: np.random.Generator) -> Backdrop:
    """Return a random window of `backdrop`, resized to the scene."""
    height, width = backdrop.gray.shape
    largest = min(width / WIDTH_PX, height / HEIGHT_PX)
    share = largest * rng.uniform(0.45, 1.0)
    size = np.array([WIDTH_PX, HEIGHT_PX]) * share
    corner = rng.uniform(0, np.maximum(np.array([width, height]) - size, 1e-6))
    if len(backdrop.plates) and rng.random() < 0.7:  # noqa: PLR2004
        middle = backdrop.plates[rng.integers(len(backdrop.plates))].reshape(2, 2).mean(axis=0)
        corner = np.clip(middle - size * rng.uniform(0.2, 0.8, 2), 0, [width, height] - size)
    x, y = np.floor(np.maximum(corner, 0)).astype(int)
    window = backdrop.gray[y : y + max(8, int(size[1])), x : x + max(8, int(size[0]))]
    way = cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR
    gray = np.asarray(cv2.resize(window, (WIDTH_PX, HEIGHT_PX), interpolation=way), np.uint8)
    scale = np.tile([WIDTH_PX / window.shape[1], HEIGHT_PX / window.shape[0]], 2)

    def moved(boxes: Boxes) -> Boxes:
        inside = ((boxes - [x, y, x, y]) * scale).astype(np.float32)
        overlap = (inside[:, 2:] > 0).all(axis=1) & (inside[:, :2] < gray.shape[::-1]).all(axis=1)
        return inside[overlap]

    return Backdrop(gray=gray, plates=moved(backdrop.plates), ignored=moved(backdrop.ignored))


def _paint_street(rng: np.random.Generator) -> Gray:
    """Return a made-up street: sky, blocks with windows, ground, posts."""
    shape = (HEIGHT_PX, WIDTH_PX)
    horizon = int(rng.uniform(-0.2, 0.6) * HEIGHT_PX)
    tones = rng.uniform(20, 235, 3)
    down = np.arange(HEIGHT_PX, dtype=np.float32)[:, None]
    picture = np.where(down < horizon, tones[0], tones[1] + (tones[2] - tones[1]) * down / HEIGHT_PX)
    for grain in (90, 20, 3):
        picture = picture + rng.uniform(1, 9) * mottle(rng, shape, grain)
    gray = np.clip(picture, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 7))):
        left, width = rng.uniform(-50, WIDTH_PX), rng.uniform(10, 200)
        top, bottom = horizon - rng.uniform(10, 200), horizon + rng.uniform(0, 60)
        tone = rng.uniform(15, 240)
        fill(gray, np.array([[left, top], [left + width, top], [left + width, bottom],
                             [left, bottom]]), (tone,))
        for x in np.arange(left + 5, left + width - 14, rng.uniform(16, 40)):
            for y in np.arange(top + 5, bottom - 14, rng.uniform(16, 40)):
                fill(gray, np.array([[x, y], [x + 9, y], [x + 9, y + 11], [x, y + 11]]),
                     (rng.uniform(15, 240),))
    for _ in range(int(rng.integers(0, 5))):
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * [WIDTH_PX, HEIGHT_PX]
        across = rng.uniform(1, 6, 2)
        fill(gray, np.vstack([ends, ends[::-1] + across]), (rng.uniform(20, 250),))
    return gray


def _plate_width(rng: np.random.Generator) -> float:
    """Return a plate's width in pixels: mostly 40 to 120, seldom 18 or 240."""
    return float(np.clip(np.exp(rng.normal(np.log(72), 0.55)), 18, 240))


def _draw_vehicles(
    rng: np.random.Generator, backdrop: Gray
) -> tuple[Gray, list[tuple[Points, Gray]]]:
    """Return `backdrop` with vehicles before it, and each plate's corners and pixels."""
    picture = cv2.cvtColor(backdrop, cv2.COLOR_GRAY2BGR)
    distance = float(rng.uniform(5, 25))
    height = float(rng.uniform(0.7, 1.0 + 0.28 * distance))
    focal = _plate_width(rng) * distance / 0.31
    away = float(np.clip(rng.normal(0, 0.1), -0.3, 0.3) * min(1.0, 500 / focal))
    camera = Camera(
        x_m=0.0, height_m=height, yaw_rad=away,
        pitch_rad=float(np.arctan2(height - 0.7, distance) + rng.uniform(-0.25, 0.25) * 384 / focal),
        roll_rad=float(rng.normal(0, 0.04)), focal_px=focal,
        width_px=WIDTH_PX, height_px=HEIGHT_PX,
    )
    heading = float(np.clip(rng.normal(0, 0.28), -0.75, 0.75))
    front = rng.random() < 0.4  # noqa: PLR2004
    drawn = []
    poses = [_pose(rng, index, distance, heading) for index in range(int(rng.integers(1, 5)))]
    for pose in sorted(poses, key=lambda pose: -pose.y_m):
        vehicle = make_vehicle(rng, _plate(rng), front=bool(front))
        quad = draw_vehicle(picture, vehicle, camera, pose)
        patch = _patch(picture, quad)
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


def _plate(rng: np.random.Generator) -> RenderedPlate:
    """Return a plate whose tones are those of some light, dirt and age."""
    plate = render_plate(rng)
    gray = plate.gray.astype(np.float32)
    if rng.random() < 0.3:  # noqa: PLR2004
        low, high = rng.uniform(0, 80), rng.uniform(130, 255)
        gray = low + gray * ((high - low) / 255)
    if rng.random() < 0.3:  # noqa: PLR2004
        gray = gray * np.linspace(*rng.uniform(0.5, 1.1, 2), gray.shape[1], dtype=np.float32)
    return replace(plate, gray=np.clip(gray, 0, 255).astype(np.uint8))


def _paste_plates(
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
        drawn.append((quad, _patch(gray, quad).copy()))
    for _ in range(int(rng.choice((0, 1, 2, 3, 4), p=(0.12, 0.3, 0.3, 0.18, 0.1)))):
        width = _plate_width(rng)
        middle = rng.uniform(-0.02, 1.02, 2) * [WIDTH_PX, HEIGHT_PX]
        apart = [np.linalg.norm(quad.mean(axis=0) - middle) for quad, _ in drawn]
        widths = [np.ptp(quad[:, 0]) for quad, _ in drawn]
        if any(gap < 1.6 * max(width, other) for gap, other in zip(apart, widths, strict=True)):
            continue
        quad = _paste_plate(gray, rng, middle, width, turn=1.0, panel=rng.random() < 0.7)
        drawn.append((quad, _patch(gray, quad).copy()))
    return gray, drawn


def _paste_plate(
    gray: Gray, rng: np.random.Generator, middle: NDArray[np.float64], width_px: float, *,
    turn: float, panel: bool,
) -> Points:
    """Paste one plate, perhaps on a body panel and in a holder; return its corners."""
    plate = _plate(rng)
    ratio = plate.gray.shape[0] / plate.gray.shape[1]
    angles = turn * np.clip(rng.normal(0, (0.2, 0.32, 0.07)), -0.75, 0.75)
    far = float(rng.uniform(6, 40))

    def seen(half_width: float, half_height: float, centre: tuple[float, float]) -> Points:
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_width, half_height]
        return _turned(square + centre, angles, far) * width_px + middle

    if panel:
        _paste_panel(gray, rng, seen, ratio)
    quad = seen(0.5, 0.5 * ratio, (0, 0))
    if rng.random() < 0.55:  # noqa: PLR2004
        border = rng.uniform(0.01, 0.06)
        fill(gray, seen(0.5 + border, 0.5 * ratio + border * rng.uniform(0.5, 1.8), (0, 0)),
             (float(rng.uniform(10, 245)),))
    paste(gray, plate.gray, quad)
    if rng.random() < 0.2:  # noqa: PLR2004
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


def _paste_panel(gray: Gray, rng: np.random.Generator, seen: object, ratio: float) -> None:
    """Paste a vehicle's face, or a plain lined panel, behind the plate's place."""
    colour: Colour = PAINTS[rng.integers(len(PAINTS))]
    if rng.random() < 0.5:  # noqa: PLR2004
        face = draw_face(rng, width_m=1.75, height_m=0.75, colour=colour, front=rng.random() < 0.4)  # noqa: PLR2004
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
    paste(gray, texture, seen(*half, centre))  # type: ignore[operator]


def _add_lettering(gray: Gray, rng: np.random.Generator) -> None:
    """Add words and signs that are no plates."""
    for _ in range(int(rng.integers(0, 4))):
        height = float(rng.uniform(8, 40))
        where = rng.uniform(0, 0.9, 2) * [WIDTH_PX, HEIGHT_PX]
        tone = float(rng.uniform(0, 255))
        if rng.random() < 0.5:  # noqa: PLR2004
            wide, lines = height * rng.uniform(1.0, 9.0), int(rng.integers(2, 5))
            sign = np.array([[0, 0], [wide, 0], [wide, 1.3 * height], [0, 1.3 * height]])
            fill(gray, sign + where, (255 - tone,))
            for line in range(lines):
                down = (line + 0.85) * height / lines
                write(gray, rng, (where[0] + 2, where[1] + down), 0.6 * height / lines,
                      (tone,), (2, 9))
        else:
            write(gray, rng, (where[0], where[1]), height, (tone,), (3, 11))


def _cast_shadow(gray: Gray, rng: np.random.Generator, quad: Points) -> None:
    """Darken one side of a line through the plate."""
    middle, size = quad.mean(axis=0), 1.2 * float(np.ptp(quad[:, 0]))
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)]) * size
    across = np.array([-along[1], along[0]]) * rng.uniform(0.3, 1.0)
    shape = np.array([middle - along, middle + along, middle + along + across,
                      middle - along + across])
    darken(gray, shape, to=float(rng.uniform(0.3, 0.8)), blur_px=float(rng.uniform(0.5, 3)))


def _photograph(gray: Gray, rng: np.random.Generator) -> Gray:
    """Return the scene as a camera gives it: light, lens, motion, noise, compression."""
    levels = gray.astype(np.float32) / 255
    if rng.random() < 0.6:  # noqa: PLR2004
        levels = levels ** np.float32(np.exp(rng.normal(0, 0.4)))
        levels = levels * np.float32(rng.uniform(0.45, 1.3)) + np.float32(rng.uniform(-0.06, 0.1))
    if rng.random() < 0.75:  # noqa: PLR2004
        levels = cv2.GaussianBlur(levels, (0, 0), abs(rng.normal(0, 0.7)) + 0.3)
    if rng.random() < 0.15:  # noqa: PLR2004
        levels = cv2.filter2D(levels, -1, _streak_kernel(rng))
    noise = abs(rng.normal(0, 0.018))
    levels = levels + np.float32(noise) * rng.standard_normal(gray.shape, dtype=np.float32)
    picture = np.clip(np.round(levels * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:  # noqa: PLR2004
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


def _bounds(quad: Points) -> NDArray[np.float64]:
    """Return the upright box around a quad."""
    return np.concatenate([quad.min(axis=0), quad.max(axis=0)])


def _patch(picture: NDArray[np.uint8], quad: Points) -> NDArray[np.uint8]:
    """Return the part of the picture inside the quad's upright box."""
    x1, y1, x2, y2 = np.maximum(_bounds(quad), 0).astype(int)
    return picture[y1:y2, x1:x2]


def _is_seen(quad: Points) -> bool:
    """Say whether enough of a plate lies in the picture, and large enough, to be found."""
    x1, y1, x2, y2 = _bounds(quad)
    wide = min(x2, WIDTH_PX) - max(x1, 0)
    high = min(y2, HEIGHT_PX) - max(y1, 0)
    share = max(0.0, wide) * max(0.0, high) / max(1e-6, (x2 - x1) * (y2 - y1))
    return bool(share > 0.7 and x2 - x1 >= TINY_PX)  # noqa: PLR2004


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
    work = multiprocessing.get_context("fork").Pool(processes)
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
        args.folder, count=args.count, seed=args.seed, pictures=args.pictures,
        processes=args.processes,
    )


if __name__ == "__main__":
    main()

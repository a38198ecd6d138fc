"""Write a contact sheet of rendered plates: `python -m models.synth.gallery OUT.png`.

With `--scenes` of whole pictures as the detector learns from them, true corners drawn in; their
backgrounds are painted, never photographed.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.fonts import installed_faces
from models.synth.photo import degrade
from models.synth.plates import render_plate
from models.synth.scenes import compose_scene

TILE_PX = (200, 100)
SCENE_TILE_PX = (400, 300)


def draw_tile(
    rng: np.random.Generator, *, layout: str | None, faces: tuple[Path, ...], camera: bool
) -> NDArray[np.uint8]:
    """Return one plate with its text below."""
    plate = render_plate(rng, layout=layout, faces=faces)
    gray = degrade(plate.gray, rng) if camera else plate.gray
    tile = np.full((TILE_PX[1] + 16, TILE_PX[0]), 90, np.uint8)
    height = min(round(TILE_PX[0] * gray.shape[0] / gray.shape[1]), TILE_PX[1])
    tile[:height] = cv2.resize(gray, (TILE_PX[0], height), interpolation=cv2.INTER_AREA)
    cv2.putText(tile, plate.text, (4, TILE_PX[1] + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255)
    return tile


def draw_scene(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one scene with the true corners of its plates."""
    scene = compose_scene(rng, ())
    picture = scene.gray.copy()
    for quad in scene.corners:
        cv2.polylines(picture, [np.rint(quad).astype(np.int32)], isClosed=True, color=255)
    return cv2.resize(picture, SCENE_TILE_PX, interpolation=cv2.INTER_AREA)


def draw_sheet(tiles: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Return the tiles side by side, `columns` a row; their number is a multiple of it."""
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def main() -> int:
    """Draw the sheet and say where it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=9)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", help="only this layout")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--camera", action="store_true", help="with camera effects")
    parser.add_argument("--scenes", action="store_true", help="whole pictures instead of plates")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    faces = installed_faces(args.fonts)
    count = args.rows * args.columns
    if args.scenes:
        tiles = [draw_scene(rng) for _ in range(count)]
    else:
        tiles = [
            draw_tile(rng, layout=args.layout, faces=faces, camera=args.camera)
            for _ in range(count)
        ]
    cv2.imwrite(str(args.out), draw_sheet(tiles, args.columns))
    sys.stderr.write(f"{args.out}: {count} tiles, {len(faces)} fonts\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

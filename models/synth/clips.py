"""Render the recorded video of the tests and benchmarks, and the truth about its plates.

    python -m models.synth.clips all tests/data [--sheets FOLDER]

Each clip NAME becomes NAME.mp4 and NAME.truth.jsonl in the folder. The same code and seed give
the same pictures on every machine; the encoder's bytes may differ from version to version.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from models.synth import drive, idle, nights, roadside
from models.synth.film import Reel, record, write_sheet, write_truth

POSTER_WIDTH_PX, POSTER_AT_S = 720, 8.35


@dataclass(frozen=True, slots=True)
class Clip:
    """How one clip is made."""

    make: Callable[[int], Reel]
    seed: int


CLIPS = {
    "demo": Clip(roadside.DEMO.make, 7),
    "rush": Clip(roadside.RUSH.make, 11),
    "night": Clip(nights.make_night, 21),
    "idle": Clip(idle.make_idle, 31),
    "mobile": Clip(drive.make_mobile, 41),
}


def render(name: str, folder: Path, *, seed: int | None, sheets: Path | None) -> str:
    """Write the clip, its truth and perhaps a contact sheet; return a line about them."""
    clip = CLIPS[name]
    video, truth = folder / f"{name}.mp4", folder / f"{name}.truth.jsonl"
    sightings = record(video, clip.make(clip.seed if seed is None else seed))
    write_truth(truth, sightings)
    if sheets:
        write_sheet(video, truth, sheets / f"{name}.png")
    return f"{name}: {len(sightings)} vehicles, {video.stat().st_size / 1e6:.2f} MB"


def main() -> None:
    """Render from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=(*CLIPS, "all"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, help="another one than the shipped clip has")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="contact sheets go there")
    parser.add_argument("--poster", type=Path, help="also a PNG of one frame of the demo's clip")
    args = parser.parse_args()
    if args.poster:
        seed = CLIPS["demo"].seed if args.seed is None else args.seed
        poster = roadside.render_poster(seed=seed, at_s=POSTER_AT_S, width_px=POSTER_WIDTH_PX)
        cv2.imwrite(str(args.poster), poster, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    for name in CLIPS if args.name == "all" else (args.name,):
        line = render(name, args.folder, seed=args.seed, sheets=args.sheets)
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

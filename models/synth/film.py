"""Put rendered frames on film: sensor noise, H.264, the truth, a sheet to look at."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

from models.synth.space import Picture, Points

FPS = 30
TRUTH_EVERY_FRAMES = 5
SHEET_COLUMNS, SHEET_ROWS, SHEET_TILE_PX = 3, 4, 640
SOFT_SIGMA_PX = 0.45

Shot = tuple[Picture, dict[int, Points]]
"""One frame, and the corners (4, 2) of the plates that can be seen whole in it, by vehicle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """A clip before it is on film."""

    shoot: Callable[[int], Shot]
    """Gives a frame by its number."""
    texts: tuple[str, ...] = field(repr=False)
    """The plate of each vehicle that a shot may name."""
    frames: int
    """How many there are."""
    crf: float
    """Of the H.264 encoder; a greater one makes the file smaller."""


@dataclass(slots=True)
class Sighting:
    """The frames in which one plate is wholly inside the picture."""

    text: str = field(repr=False)
    corners: dict[int, Points] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the truth's line."""
        frames = sorted(self.corners)
        kept = {str(f): np.round(self.corners[f], 1).tolist() for f in frames[::TRUTH_EVERY_FRAMES]}
        row = {"text": self.text, "first_frame": frames[0], "last_frame": frames[-1]}
        return json.dumps({**row, "corners": kept})


class Recorder:
    """An H.264 file that frames are appended to."""

    def __init__(self, path: Path, *, size_px: tuple[int, int], crf: float, fps: int = FPS) -> None:
        """Begin the file; `size_px` is width and height."""
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = size_px
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": f"{crf:g}", "preset": "slow", "g": "60", "threads": "1"}

    def write(self, frame: Picture) -> None:
        """Append one frame."""
        image = av.VideoFrame.from_ndarray(frame, format="bgr24")
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


def develop(picture: Picture, rng: np.random.Generator, *, noise_levels: float) -> Picture:
    """Return the picture as a sensor and lens give it: a little soft, a little noisy."""
    soft = cv2.GaussianBlur(picture, (0, 0), SOFT_SIGMA_PX)
    noise = noise_levels * rng.standard_normal((*picture.shape[:2], 1)).astype(np.float32)
    return np.clip(np.round(soft + noise), 0, 255).astype(np.uint8)


def record(path: Path, reel: Reel) -> tuple[Sighting, ...]:
    """Write the video to `path` and return what can be seen in it; progress on standard error."""
    sightings = tuple(Sighting(text) for text in reel.texts)
    recorder: Recorder | None = None
    for number in range(reel.frames):
        frame, corners = reel.shoot(number)
        size_px = (frame.shape[1], frame.shape[0])
        recorder = recorder or Recorder(path, size_px=size_px, crf=reel.crf)
        recorder.write(frame)
        for index, quad in corners.items():
            if is_inside(quad, size_px):
                sightings[index].corners[number] = quad
        note = f"\r{path.name}: frame {number + 1} of {reel.frames}"
        print(note, end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if recorder is not None:
        recorder.close()
    return tuple(sighting for sighting in sightings if sighting.corners)


def write_truth(path: Path, sightings: tuple[Sighting, ...]) -> None:
    """Write one line a vehicle."""
    path.write_text("".join(f"{sighting.as_json()}\n" for sighting in sightings))


def is_inside(quad: Points, size_px: tuple[int, ...]) -> bool:
    """Say whether all corners lie inside a picture of that width and height."""
    return bool((quad >= 0).all() and (quad <= size_px).all())


def write_sheet(video: Path, truth: Path, sheet: Path) -> None:
    """Write a sheet of frames of `video`, with the corners of `truth`, for people to look at."""
    quads: dict[int, list[Points]] = {}
    for line in truth.read_text().splitlines():
        for number, corners in json.loads(line)["corners"].items():
            quads.setdefault(int(number), []).append(np.array(corners))
    tiles = []
    with av.open(str(video)) as container:
        total = container.streams.video[0].frames
        chosen = set(np.linspace(1, total - 2, SHEET_COLUMNS * SHEET_ROWS).astype(int).tolist())
        for number, frame in enumerate(container.decode(video=0)):
            if number in chosen:
                tiles.append(_draw_tile(frame.to_ndarray(format="bgr24"), quads.get(number, [])))
    rows = [np.hstack(tiles[i : i + SHEET_COLUMNS]) for i in range(0, len(tiles), SHEET_COLUMNS)]
    cv2.imwrite(str(sheet), np.vstack(rows))


def _draw_tile(picture: Picture, quads: list[Points]) -> Picture:
    """Return a small copy with the plates outlined."""
    for quad in quads:
        ring = [np.rint(quad).astype(np.int32)]
        cv2.polylines(picture, ring, isClosed=True, color=(0, 255, 0), thickness=2)
    height = round(SHEET_TILE_PX * picture.shape[0] / picture.shape[1])
    return cv2.resize(picture, (SHEET_TILE_PX, height), interpolation=cv2.INTER_AREA)

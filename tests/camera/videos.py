"""Small videos and pictures for the camera tests, made on the spot."""

from pathlib import Path

import av
import cv2
import numpy as np

FRAMES = 40
RATE = 20


def draw_pictures(count: int, *, width: int, height: int) -> list[np.ndarray]:
    """Return pictures (height, width) of blocks that move to the right."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1), np.uint8)
    base = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    return [np.roll(base, 2 * step, axis=1) for step in range(count)]


def write_video(
    path: Path,
    *,
    pixels: str = "yuv420p",
    codec: str = "libx264",
    size: tuple[int, int] = (160, 96),
    count: int = FRAMES,
    keyframes_every: int = 12,
) -> list[np.ndarray]:
    """Write a video and return its pictures; MP4 files carry their index in front."""
    pictures = draw_pictures(count, width=size[0], height=size[1])
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.gop_size = keyframes_every
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return pictures


def write_sound(path: Path) -> None:
    """Write a second of silence and nothing else."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_growing_video(path: Path) -> None:
    """Write a raw H.264 stream whose size changes in the middle."""
    parts = []
    for name, size in (("a.h264", (160, 96)), ("b.h264", (192, 128))):
        part = path.with_name(name)
        write_video(part, size=size, count=10)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))


def write_picture(path: Path, *, size: tuple[int, int] = (160, 96)) -> np.ndarray:
    """Write one picture and return it."""
    picture = draw_pictures(1, width=size[0], height=size[1])[0]
    cv2.imwrite(str(path), picture)
    return picture

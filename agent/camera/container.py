"""What FFmpeg needs to be told and asked: opening, the video stream, luminance, durations."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from agent.base.errors import DeviceError, InputError
from agent.base.records import Plane

SIDES_PX = (64, 8192)
"""Least and greatest width and height that are taken for a picture of a road."""
LUMA_FIRST = re.compile("gray|yuvj?4(20|22|44|40|11)p|nv(12|21|16|24|42)")
"""FFmpeg's pixel formats whose plane 0 is 8-bit luminance; all others are converted to gray."""
ADDRESS = re.compile(r"^(rtsps?://)([^/]*@)?")
"""Beginning of an address, with the user and password that it may carry."""
DEVICE = re.compile(r"/dev/video[0-9]{1,2}|/dev/v4l/by-(id|path)/[^/]+")
TIMEOUTS_S = (10.0, 10.0)
"""To open and to read: a camera that is silent for longer is broken."""
MISSING_S, MISSING_SHARE = 0.5, 0.1
"""A file that ends this much before its declared duration was cut off."""


def is_address(source: str) -> bool:
    """Tell an rtsp:// or rtsps:// address from a path."""
    return ADDRESS.match(source) is not None


def is_device(source: str) -> bool:
    """Tell a camera of the kernel (V4L2, most of them on USB) from everything else."""
    return DEVICE.fullmatch(source) is not None


def name_source(source: str) -> str:
    """Return `source` for messages: an address without its user and password."""
    return ADDRESS.sub(r"\1", source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a camera of the kernel is asked for; the driver gives what is nearest."""

    size_px: tuple[int, int]
    frames_per_s: float


def open_container(source: str, wish: Wish | None = None) -> InputContainer:
    """Return the open file, address or device.

    FFmpeg may use only the protocols named here, so a playlist in disguise reaches nothing else.

    Raises:
        InputError: The file is missing or is no video.
        DeviceError: The address or device does not answer.
    """
    place = name_source(source)
    try:
        if is_device(source):
            return av.open(source, format="v4l2", container_options=choose_options(wish))
        if is_address(source):
            options = {"rtsp_transport": "tcp", "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls"}
            return av.open(source, container_options=options, timeout=TIMEOUTS_S)
        if Path(source).is_file() and not Path(source).stat().st_size:
            message = f"{place}: found 0 bytes; expected a video"
            raise InputError(message)
        return av.open(f"file:{source}", container_options={"protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if is_address(source) or is_device(source):
            message = f"{place}: no answer ({reason}); expected a camera; check power and cable"
            raise DeviceError(message) from error
        message = f"{place}: cannot be opened ({reason}); expected a video that FFmpeg knows"
        raise InputError(message) from error


def choose_options(wish: Wish | None) -> dict[str, str]:
    """Return FFmpeg's options for a camera of the kernel (ffmpeg-devices, video4linux2)."""
    if wish is None:
        return {}
    width, height = wish.size_px
    return {"video_size": f"{width}x{height}", "framerate": f"{wish.frames_per_s:g}"}


def prepare_stream(container: InputContainer, *, threads: int, place: str) -> VideoStream:
    """Return the first video stream, ready to be decoded.

    The decoder gives up on damaged data instead of guessing: a frame that was painted over could
    be read as another plate.

    Raises:
        InputError: There is no video, or its size is impossible.
    """
    if not container.streams.video:
        kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
        message = f"{place}: found {', '.join(kinds)}; expected a video stream"
        raise InputError(message)
    stream = container.streams.video[0]
    context = stream.codec_context
    low, high = SIDES_PX
    if not (low <= context.width <= high and low <= context.height <= high):
        size = f"{context.width}x{context.height}"
        message = f"{place}: found a video of {size}; expected {low} to {high} pixels a side"
        raise InputError(message)
    context.thread_count = threads
    context.thread_type = "NONE" if threads == 1 else "FRAME"
    context.options = {"err_detect": "explode"}
    return stream


def view_luma(picture: VideoFrame) -> Plane:
    """Return the luminance of a decoded picture (H, W), as a view where the format allows it."""
    if not LUMA_FIRST.fullmatch(picture.format.name):
        picture = picture.reformat(format="gray")
    plane = picture.planes[0]
    pixels: Plane = np.frombuffer(cast("memoryview", plane), np.uint8)
    return pixels.reshape(-1, plane.line_size)[: picture.height, : picture.width]


def find_start(container: InputContainer) -> datetime | None:
    """Return the instant the file says it was recorded at, if it says so."""
    try:
        found = datetime.fromisoformat(container.metadata.get("creation_time", ""))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def measure_missing_s(
    container: InputContainer, stream: VideoStream, *, first_pts: int, last_pts: int
) -> float:
    """Return how many seconds the packets seen fall short of the declared duration; 0 if none.

    Args:
        container: At its end.
        stream: Its video.
        first_pts: Lowest time stamp of a packet, in the stream's time base.
        last_pts: Highest one.
    """
    time_base = float(stream.time_base or 0)
    declared_s = (stream.duration or 0) * time_base
    if not declared_s and len(container.streams) == 1:
        declared_s = (container.duration or 0) / av.time_base
    missing_s = declared_s - (last_pts - first_pts) * time_base
    return missing_s if missing_s > max(MISSING_S, declared_s * MISSING_SHARE) else 0.0

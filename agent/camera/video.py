"""Recorded and streamed video through PyAV: the Y plane of each frame, as the decoder made it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import av
import av.logging
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from agent.base.clock import Clock
from agent.base.errors import DeviceError, HomeplateError, InputError
from agent.base.records import Frame, Plane
from agent.camera.container import (
    Wish,
    find_start,
    is_address,
    is_device,
    measure_missing_s,
    name_source,
    open_container,
    prepare_stream,
    view_luma,
)

USUAL_RATE = 30.0
"""Frames a second of a stream that does not say."""


class VideoFile:
    """Frames of a video file, an RTSP address or a camera of the kernel (V4L2)."""

    def __init__(  # noqa: PLR0913  what is left out has its usual value
        self,
        source: str,
        *,
        make_lores: Callable[[Plane], Plane],
        clock: Clock,
        started_at: datetime | None = None,
        realtime: bool = False,
        waits: bool = False,
        threads: int = 1,
        wish: Wish | None = None,
    ) -> None:
        """Open the video.

        Args:
            source: Path of a file, an rtsp:// address, or a device such as /dev/video0.
            make_lores: Makes the detector's view of a frame, `vision.image.shrink_plane`.
            clock: Paces the frames of a file and dates those of an address.
            started_at: Instant of a file's first frame; without it, the file's own creation
                time, or else now.
            realtime: Give the frames of a file at the pace they were recorded.
            waits: A file in real time waits where it is not asked in time, and no frame is lost;
                else it goes on as a camera does.
            threads: Of the decoder.
            wish: What a device is asked for.

        Raises:
            InputError: The file is missing, broken, has no video or an impossible size.
            DeviceError: The address or device does not answer.
        """
        # FFmpeg would write to the process's standard error by itself.
        av.logging.set_level(None)
        self._place = name_source(source)
        self._live = is_address(source) or is_device(source)
        self._clock, self._paced = clock, realtime and not self._live
        self._waits = waits
        self._make_lores = make_lores
        self._broken = 0
        self._container = open_container(source, wish)
        try:
            self._stream = prepare_stream(self._container, threads=threads, place=self._place)
        except HomeplateError:
            self._container.close()
            raise
        self._size = (self._stream.codec_context.width, self._stream.codec_context.height)
        self._started_at = started_at or find_start(self._container) or clock.now()

    @property
    def broken_frames(self) -> int:
        """Frames that could not be decoded and were left out so far."""
        return self._broken

    @property
    def is_live(self) -> bool:
        """Whether frames come at a pace of their own."""
        return self._live or (self._paced and not self._waits)

    @property
    def keeps_frames(self) -> bool:
        """Yes: FFmpeg counts who holds a buffer."""
        return True

    def frames(self) -> Iterator[Frame]:
        """Give the frames in the order they are shown.

        Raises:
            InputError: The file is cut off, changes its size or holds no frame at all.
            DeviceError: The address stopped sending.
        """
        index, first_s = -1, 0.0
        started_ns = self._clock.monotonic_ns()
        for index, picture in enumerate(self._pictures()):
            at_s = self._tell_time(picture, index)
            first_s = at_s if index == 0 else first_s
            yield self._make_frame(picture, index, at_s - first_s, started_ns)
        if index < 0:
            raise self._explain(found="no frame could be decoded", expected="an undamaged video")

    def _pictures(self) -> Iterator[VideoFrame]:
        """Give the decoder's pictures; leave out and count the broken ones."""
        first_pts: int | None = None
        last_pts = missing = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    first_pts = packet.pts if first_pts is None else min(first_pts, packet.pts)
                    last_pts = max(last_pts, packet.pts)
                missing += packet.size > 0
                for picture in self._decode(packet):
                    missing -= 1
                    yield picture
        except av.FFmpegError as error:
            found = f"reading stopped ({error.strerror})"
            raise self._explain(found=found, expected="a whole video") from error
        # Decoders also drop frames in silence, those after a damaged one that they depend on.
        self._broken = max(self._broken, missing)
        self._check_end(first_pts, last_pts)

    def _decode(self, packet: "Packet[VideoStream]") -> Iterator[VideoFrame]:
        """Give the whole pictures of one packet."""
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            self._broken += 1
            return
        for picture in pictures:
            if picture.is_corrupt:
                self._broken += 1
                continue
            size = (picture.width, picture.height)
            if size != self._size:
                found = f"the size changes from {self._size} to {size}"
                raise self._explain(found=found, expected="one size throughout")
            yield picture

    def _tell_time(self, picture: VideoFrame, index: int) -> float:
        """Return the picture's time in seconds of the container."""
        if picture.pts is not None and picture.time_base:
            return float(picture.pts * picture.time_base)
        return index / float(self._stream.average_rate or USUAL_RATE)

    def _make_frame(self, picture: VideoFrame, index: int, at_s: float, started_ns: int) -> Frame:
        """Return the frame of `picture`, `at_s` after the first one; wait for its time if paced."""
        if self._paced:
            elapsed_s = (self._clock.monotonic_ns() - started_ns) / 1e9
            self._clock.wait_s(max(at_s - elapsed_s, 0.0))
        y = view_luma(picture)
        dated = self._clock.now() if self._live else self._started_at + timedelta(seconds=at_s)
        return Frame(
            index=index,
            captured_at=dated,
            sensor_ns=started_ns + round(at_s * 1e9),
            y=y,
            lores=self._make_lores(y),
        )

    def _check_end(self, first_pts: int | None, last_pts: int) -> None:
        """Refuse a stream that ended too early: a camera never ends, a file may be cut off."""
        if self._live:
            raise self._explain(found="the stream ended", expected="a camera that keeps sending")
        if first_pts is None:
            return
        missing_s = measure_missing_s(
            self._container, self._stream, first_pts=first_pts, last_pts=last_pts
        )
        if missing_s:
            found = f"the last {missing_s:.1f} s of the declared duration are missing"
            raise self._explain(found=found, expected="a whole video; copy it again")

    def _explain(self, *, found: str, expected: str) -> HomeplateError:
        """Return the error for this source."""
        kind = DeviceError if self._live else InputError
        return kind(f"{self._place}: {found}; expected {expected}")

    def __enter__(self) -> Self:
        """Return the open video."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close the video."""
        self._container.close()

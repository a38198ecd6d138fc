"""The recorded video of a bench as a camera: once or again and again, and its frames measured."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from agent.base.clock import Clock
from agent.base.records import Frame, Plane
from agent.camera import Camera, Source
from agent.camera.pictures import PictureFolder
from agent.camera.video import VideoFile
from agent.cli.bench_meter import Meter
from agent.cli.bench_yardstick import Kernel
from agent.vision.image import shrink_plane

START: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""Date of a clip's first frame."""
KERNEL_EVERY_NS: Final = 200_000_000
"""Of the clip's time."""
USUAL_STEP_NS: Final = 33_333_333
"""Between two laps, where a clip has but one frame."""


class ClipClock:
    """The time in the clip: it stands still until another frame comes."""

    def __init__(self) -> None:
        """Begin at the clip's first frame."""
        self._ns = 0

    def now(self) -> datetime:
        """Tell the date in the clip."""
        return START + timedelta(microseconds=self._ns / 1e3)

    def monotonic_ns(self) -> int:
        """Tell the time since the first frame."""
        return self._ns

    def wait_s(self, seconds: float, /) -> None:
        """Return at once."""

    def set(self, at_ns: int) -> None:
        """Let the clip's time be `at_ns` after its first frame."""
        self._ns = at_ns


@dataclass(slots=True, kw_only=True)
class Laps:
    """How often the clip is gone through."""

    at_least_s: float = 0.0
    """Of the clip's own time; a lap that began is finished."""
    max_frames: int | None = None
    first_frames: list[int] = field(default_factory=list)
    """Index of each lap's first frame."""
    gone_ns: int = 0
    """The clip's own time of all frames so far, also of those that nobody saw."""
    frames: int = 0
    """That the clip gave so far, also those that nobody saw."""

    def ends(self, gone_s: float) -> bool:
        """Say whether enough laps were done."""
        return gone_s >= self.at_least_s


class ClipCamera:
    """A clip that begins anew at its end, as often as `Laps` says; frames count on."""

    def __init__(
        self, place: str, *, clock: Clock, realtime: bool, lores_width_px: int, laps: Laps,
        meter: Meter,
    ) -> None:  # fmt: skip
        """Open the clip; the arguments are those of the command.

        Raises:
            InputError: It is no video and no folder of pictures.
        """
        self._place, self._clock, self._realtime = place, clock, realtime
        self._lores_width_px, self._laps, self._meter = lores_width_px, laps, meter
        self._broken = 0
        """In the laps that are over."""
        self._lap = self._open(self._date(0))
        """Only one at a time: a decoder holds 20 MB of pictures until it is forgotten."""

    @property
    def broken_frames(self) -> int:
        """Frames that could not be decoded so far."""
        return self._broken + self._lap.broken_frames

    @property
    def is_live(self) -> bool:
        """Whether frames come at the pace at which they were recorded."""
        return self._realtime

    @property
    def keeps_frames(self) -> bool:
        """As the decoder's."""
        return self._lap.keeps_frames

    def frames(self) -> Iterator[Frame]:
        """Give the frames of all laps, as one clip.

        Raises:
            InputError: The clip is broken.
        """
        gone_ns = index = 0
        while True:
            self._laps.first_frames.append(index)
            last: Frame | None = None
            step_ns, start_ns = USUAL_STEP_NS, 0
            for frame in self._meter_decoding(self._lap):
                start_ns = frame.sensor_ns if last is None else start_ns
                step_ns = frame.sensor_ns - last.sensor_ns if last else step_ns
                last = frame
                self._laps.gone_ns = gone_ns + frame.sensor_ns - start_ns + step_ns
                self._laps.frames = index + 1
                yield self._shift(frame, index, gone_ns, start_ns)
                index += 1
                if index == self._laps.max_frames:
                    return
            gone_ns = self._laps.gone_ns
            if self._laps.ends(gone_ns / 1e9):
                return
            self._broken += self._lap.broken_frames
            self._lap = self._open(self._date(gone_ns))

    def _shift(self, frame: Frame, index: int, gone_ns: int, start_ns: int) -> Frame:
        """Return a lap's frame as one of the whole."""
        if self._realtime:
            return replace(frame, index=index)
        at_ns = gone_ns + frame.sensor_ns - start_ns
        return replace(frame, index=index, sensor_ns=at_ns)

    def _date(self, gone_ns: int) -> datetime:
        """Return the date of a lap's first frame."""
        return (
            self._clock.now() if self._realtime else START + timedelta(microseconds=gone_ns / 1e3)
        )

    def _meter_decoding(self, lap: Camera) -> Iterator[Frame]:
        with lap:
            frames = lap.frames()
            while True:
                with self._meter.measure("decode"):
                    frame = next(frames, None)
                if frame is None:
                    return
                yield frame

    def _open(self, started_at: datetime) -> Camera:
        def make_lores(plane: Plane) -> Plane:
            with self._meter.measure("lores"):
                return shrink_plane(plane, width_px=self._lores_width_px)

        if Path(self._place).is_dir():
            return PictureFolder(
                Path(self._place),
                make_lores=make_lores,
                clock=self._clock,
                realtime=self._realtime,
            )
        return VideoFile(
            self._place,
            make_lores=make_lores,
            clock=self._clock,
            started_at=started_at,
            realtime=self._realtime,
        )

    def __enter__(self) -> Self:
        """Return the open clip."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close nothing: each lap closes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How far the bench was at one time of the clip."""

    at_s: float
    frames: int
    crops_read: int
    vehicles: int
    frames_shed: int
    rss_mib: float


class MeteredSource:
    """The watcher's source of frames; notes how long each took it, and does the yardstick's work.

    Between two frames it is asked for the next one, so that is when the one before is done with.
    """

    def __init__(
        self,
        source: Source,
        *,
        kernel: Kernel,
        on_frame: Callable[[Frame], None],
        on_done: Callable[[float], None],
        realtime: bool,
    ) -> None:
        """Take over a source.

        Args:
            source: Gives the frames.
            kernel: The yardstick.
            on_frame: Given each frame before it is handed on.
            on_done: Given the milliseconds of each: since the sensor where that is in real time,
                else since it was handed on.
            realtime: Whether the sensor's time is the machine's.
        """
        self._source, self._kernel, self._realtime = source, kernel, realtime
        self._on_frame, self._on_done = on_frame, on_done
        self._kernel_ns = 0
        """Time of the clip when the kernel ran."""

    @property
    def broken_frames(self) -> int:
        """As the source's."""
        return self._source.broken_frames

    @property
    def dropped_frames(self) -> int:
        """As the source's."""
        return self._source.dropped_frames

    def frames(self) -> Iterator[Frame | None]:
        """Give the source's frames."""
        for frame in self._source.frames():
            if frame is None:
                yield None
                continue
            self._on_frame(frame)
            began_ns = frame.sensor_ns if self._realtime else time.monotonic_ns()
            yield frame
            self._on_done((time.monotonic_ns() - began_ns) / 1e6)
            if abs(frame.sensor_ns - self._kernel_ns) >= KERNEL_EVERY_NS:
                self._kernel_ns = frame.sensor_ns
                self._kernel.run()

    def __enter__(self) -> Self:
        """Begin."""
        self._source.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give the source back."""
        self._source.__exit__(kind, error, traceback)


class Unhurried:
    """A clip as a source that waits until it is asked: no frame is ever dropped."""

    def __init__(self, camera: Camera) -> None:
        """Take over a clip."""
        self._camera = camera

    @property
    def broken_frames(self) -> int:
        """As the clip's."""
        return self._camera.broken_frames

    @property
    def dropped_frames(self) -> int:
        """None."""
        return 0

    def frames(self) -> Iterator[Frame | None]:
        """Give the clip's frames."""
        yield from self._camera.frames()

    def __enter__(self) -> Self:
        """Begin."""
        self._camera.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give the clip back."""
        self._camera.__exit__(kind, error, traceback)

"""Whole simulators of what the agent touches. Each keeps the rules of the real thing."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

import numpy as np

from agent.base.errors import DeviceError
from agent.base.records import Frame, Plane
from agent.vision.image import shrink_plane

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
POISON = 0xAA
ROW_PADDING_PX = 32
LORES = partial(shrink_plane, width_px=640)


class FakeClock:
    """A clock that moves only when someone waits or the test says so."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start
        self._monotonic_ns = 1_000_000_000
        self.waits_s: list[float] = []

    def now(self) -> datetime:
        """Tell the wall clock."""
        return self._now

    def monotonic_ns(self) -> int:
        """Tell the monotonic clock."""
        return self._monotonic_ns

    def wait_s(self, seconds: float, /) -> None:
        """Let time pass at once, and remember for how long."""
        self.waits_s.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_ns += round(seconds * 1e9)

    def set_wall(self, now: datetime) -> None:
        """Set the wall clock, as a person or a time server does; the monotonic one goes on."""
        self._now = now


class FakeCamera:
    """A camera with one buffer, as short of memory as a real one.

    Rows are longer in memory than the picture is wide. Asking for the next frame overwrites the
    one before with a pattern first, so whoever kept a view instead of a copy finds it out.
    """

    def __init__(
        self,
        pictures: Sequence[Plane],
        *,
        clock: FakeClock,
        frames_per_s: float = 30.0,
        broken: frozenset[int] = frozenset(),
        falls_silent: bool = False,
        make_lores: Callable[[Plane], Plane] = LORES,
    ) -> None:
        self._pictures, self._clock = pictures, clock
        self._interval_s = 1 / frames_per_s
        self._broken, self._falls_silent = broken, falls_silent
        self._make_lores = make_lores
        self.broken_frames = self.dropped_frames = 0
        self.is_live = self.keeps_frames = False
        self.is_open = False

    def frames(self) -> Iterator[Frame]:
        """Give the pictures, all in the same buffer."""
        assert self.is_open, "frames() outside of the with block"
        rows, columns = self._pictures[0].shape if self._pictures else (0, 0)
        buffer = np.empty((rows, columns + ROW_PADDING_PX), np.uint8)
        index = 0
        for number, picture in enumerate(self._pictures):
            buffer[:] = POISON
            self._clock.advance(self._interval_s)
            if number in self._broken:
                self.broken_frames += 1
                continue
            y = buffer[:, :columns]
            y[:] = picture
            yield Frame(
                index=index,
                captured_at=self._clock.now(),
                sensor_ns=self._clock.monotonic_ns(),
                y=y,
                lores=self._make_lores(y),
            )
            index += 1
        buffer[:] = POISON
        if self._falls_silent:
            message = "camera: no frame for 1.0 s; expected one every 33 ms; check the cable"
            raise DeviceError(message)

    def __enter__(self) -> Self:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

"""A camera that is never waited for: a thread takes its frames and holds the newest."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import numpy as np

from agent.base.records import Frame, Plane
from agent.camera import Camera

NO_PLANE = np.empty((0, 0), np.uint8)
LEAVE_S: Final = 2.0
"""At the end a frame is mostly under way, and the next comes within a second or never."""


class Slot:
    """Memory for one frame, used again and again."""

    __slots__ = ("_lores", "_y")

    def __init__(self) -> None:
        """Begin without memory; the first frame says how much."""
        self._y, self._lores = NO_PLANE, NO_PLANE

    def hold(self, frame: Frame) -> Frame:
        """Return a copy of `frame` that holds until the next call."""
        self._y = copy_into(self._y, frame.y)
        self._lores = copy_into(self._lores, frame.lores)
        return replace(frame, y=self._y, lores=self._lores)


def copy_into(memory: Plane, plane: Plane) -> Plane:
    """Return a copy of `plane`, in `memory` where it has the right shape."""
    if memory.shape != plane.shape:
        return plane.copy()
    np.copyto(memory, plane)
    return memory


class PatientCamera:
    """Gives a camera's frames, and None each time that none has come for a while.

    A camera that stalls (a cable, a network) blocks whoever asks it for a frame, and signals with
    it; and a camera that is not asked in time blocks itself, or gives old pictures. So a thread
    asks, all the time. There are two places for frames: one for the frame that is looked at, one
    for the newest. A live camera's newest frame takes the place of an older one that nobody has
    begun to look at, which is counted; a file waits until there is room.
    """

    def __init__(self, camera: Camera, *, wait_s: float, leave_s: float = LEAVE_S) -> None:
        """Take over `camera`, which is not open yet.

        Args:
            camera: Is opened and given back with this one.
            wait_s: How long a frame is waited for at a time.
            leave_s: How long the thread has at the end to come out of the camera.
        """
        self._camera, self._wait_s, self._leave_s = camera, wait_s, leave_s
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._free, self._used = Slot(), Slot()
        self._dropped = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        # As a daemon: one that hangs in the camera must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="camera", daemon=True)

    @property
    def broken_frames(self) -> int:
        """Frames that arrived damaged and were left out so far."""
        return self._camera.broken_frames

    @property
    def dropped_frames(self) -> int:
        """Frames that a newer one replaced before anybody looked at them."""
        return self._dropped

    def frames(self) -> Iterator[Frame | None]:
        """Give one frame after the other, None where none came in time. To be called once.

        Raises:
            HomeplateError: As the camera's own.
        """
        self._thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(self._has_word, self._wait_s)
                frame, ended = self._newest, self._ended
                if frame is not None:
                    self._newest = None
                    self._free, self._used = self._used, self._free
                    self._changed.notify_all()
            if frame is None and self._error is not None:
                raise self._error
            if frame is None and ended:
                return
            yield frame

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
        """Give the camera back; one that hangs is left to the end of the process."""
        with self._changed:
            self._stopped = True
            self._dropped += self._newest is not None
            self._newest = None
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(self._leave_s)
        if not self._thread.is_alive():
            self._camera.__exit__(kind, error, traceback)

    def _has_word(self) -> bool:
        return self._newest is not None or self._ended

    def _serve(self) -> None:
        """Take the camera's frames until it ends, fails, or nobody wants them any more."""
        try:
            for frame in self._camera.frames():
                if not self._put(frame):
                    break
                del frame  # a lent one must be given back before the next is waited for
        except BaseException as error:  # noqa: BLE001  it is raised again where frames are awaited
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        """Hold `frame` as the newest one; tell whether more are wanted."""
        with self._changed:
            if not self._camera.is_live:
                self._changed.wait_for(lambda: self._newest is None or self._stopped)
            if self._stopped:
                return False
            self._dropped += self._newest is not None
            self._newest = frame if self._camera.keeps_frames else self._free.hold(frame)
            self._changed.notify_all()
        return True

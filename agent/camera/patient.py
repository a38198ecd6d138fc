"""A camera that is waited for no longer than a moment at a time."""

import threading
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from agent.base.records import Frame
from agent.camera import Camera

Answer = Frame | BaseException | None
"""A frame; what went wrong; None = the camera has ended."""


class PatientCamera:
    """Gives a camera's frames, and None each time that none has come for a while.

    A camera that stalls (a cable, a network) blocks whoever asks it for a frame, and signals with
    it. So a thread asks. It asks for one frame at a time, when the one before is done with: the
    camera's buffer is never overwritten under the reader.
    """

    def __init__(self, camera: Camera, *, wait_s: float) -> None:
        """Take over `camera`, which is not open yet; wait `wait_s` at a time."""
        self._camera, self._wait_s = camera, wait_s
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._owed = False
        """Whether the thread is in the camera."""
        # As a daemon: one that hangs in the camera must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="camera", daemon=True)

    @property
    def broken_frames(self) -> int:
        """Frames that arrived damaged and were left out so far."""
        return self._camera.broken_frames

    def frames(self) -> Iterator[Frame | None]:
        """Give one frame after the other, None where none came in time. To be called once.

        Raises:
            HomeplateError: As the camera's own.
        """
        self._thread.start()
        while True:
            if not self._owed:
                self._asked.put(item=True)
                self._owed = True
            try:
                answer = self._answers.get(timeout=self._wait_s)
            except Empty:
                yield None
                continue
            self._owed = False
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                return
            yield answer

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
        self._asked.put(item=False)
        if not self._owed:
            if self._thread.ident is not None:
                self._thread.join()
            self._camera.__exit__(kind, error, traceback)

    def _serve(self) -> None:
        """Ask the camera for a frame whenever asked for one."""
        frames = self._camera.frames()
        while self._asked.get():
            try:
                self._answers.put(next(frames, None))
            except BaseException as error:  # noqa: BLE001  it is raised again where it is awaited
                self._answers.put(error)

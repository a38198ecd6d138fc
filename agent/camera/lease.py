"""Planes of a camera's buffer: views for as long as its request is held, and never longer."""

import gc
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Final, Protocol, Self
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from agent.base.records import Plane

HELD_FRAMES: Final = 2
"""Frames that may still be looked at when another is asked for: the last one, by whoever asks, and
one that is worked on meanwhile. With the one being given that is 3 of picamera2's 6 buffers."""


class Request(Protocol):
    """picamera2's `CompletedRequest`: a buffer of each stream that the camera may not write to."""

    def get_metadata(self) -> dict[str, Any]:
        """Return what the sensor says of the frame."""
        ...

    def release(self) -> None:
        """Give the buffers back to the camera."""
        ...


class Mapped(Protocol):
    """picamera2's `MappedArray`: a buffer as an array, until the `with` block ends."""

    @property
    def array(self) -> NDArray[np.uint8] | None:
        """The buffer, (H x 3 / 2, stride)."""
        ...

    def __enter__(self) -> Self:
        """Make the buffer readable."""
        ...

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        ...


class _Window:
    """Lends an array's memory to another one, which then is the root of all its views.

    numpy keeps the array that owns memory alive for each view of a view. With a window between
    them, the plane that is handed out is that root: it lives exactly as long as any view of it.
    """

    __slots__ = ("__array_interface__", "_array")

    def __init__(self, array: NDArray[np.uint8]) -> None:
        interface = dict(array.__array_interface__)
        self.__array_interface__ = interface | {"data": (interface["data"][0], True)}  # read-only
        self._array = array


def lend_plane(array: NDArray[np.uint8], *, width_px: int, height_px: int) -> Plane:
    """Return the Y plane at the top of a YUV 4:2:0 buffer, read-only.

    Args:
        array: (H x 3 / 2, stride).
        width_px: Of the picture, at most the stride.
        height_px: Of the picture.
    """
    return np.asarray(_Window(array[:height_px, :width_px]))


class _Lease:
    """One request that is held, and what may still look into it."""

    __slots__ = ("_stack", "_views", "number")

    def __init__(self, number: int, stack: ExitStack, views: Iterable[Plane]) -> None:
        self.number, self._stack = number, stack
        self._views = tuple(ref(view) for view in views)

    def is_looked_at(self) -> bool:
        """Tell whether a plane, or a view of one, is still in somebody's hands."""
        return any(view() is not None for view in self._views)

    def end(self) -> None:
        """Give the buffers back."""
        self._stack.close()


class Leases:
    """The requests that are held, oldest first."""

    def __init__(self) -> None:
        self._held: deque[_Lease] = deque()
        self._ended: list[_Lease] = []
        """Ended while somebody looked."""
        self._taken = 0

    def take(
        self,
        request: Request,
        map_array: Callable[[Request, str], Mapped],
        sizes: Mapping[str, tuple[int, int]],
    ) -> dict[str, Plane]:
        """Return the planes of a request, which is held from here on.

        Args:
            request: Is given back at once where a buffer cannot be mapped.
            map_array: Maps one stream of a request.
            sizes: Width and height of the picture of each stream.
        """
        with ExitStack() as stack:
            stack.callback(request.release)
            planes = {name: _map(stack, map_array(request, name), sizes[name]) for name in sizes}
            mapped = stack.pop_all()
        self._taken += 1
        self._held.append(_Lease(self._taken, mapped, planes.values()))
        return planes

    def give_back(self) -> None:
        """Give back what nobody looks at any more; to be called when another frame is asked for.

        Raises:
            BufferError: A plane was kept for longer than `HELD_FRAMES` frames. Its buffer is not
                given back: whoever kept it would see another picture appear in it.
        """
        self._end_unseen()
        if self._is_overdue():
            gc.collect()  # an exception that was handled may hold its frame in a cycle
            self._end_unseen()
        if self._is_overdue():
            message = "camera: a frame is still looked at that is "
            message += f"{self._taken - self._held[0].number} frames old; expected at most "
            message += f"{HELD_FRAMES - 1}: copy what outlives its frame"
            raise BufferError(message)

    def end_all(self) -> bool:
        """Give everything back before the camera is stopped; tell whether nobody looks any more."""
        self._ended += self._held
        while self._held:
            self._held.popleft().end()
        if any(lease.is_looked_at() for lease in self._ended):
            gc.collect()
        self._ended = [lease for lease in self._ended if lease.is_looked_at()]
        return not self._ended

    def _is_overdue(self) -> bool:
        return bool(self._held) and self._taken - self._held[0].number >= HELD_FRAMES

    def _end_unseen(self) -> None:
        for lease in tuple(self._held):
            if not lease.is_looked_at():
                self._held.remove(lease)
                lease.end()


def _map(stack: ExitStack, mapped: Mapped, size: tuple[int, int]) -> Plane:
    array = stack.enter_context(mapped).array
    if array is None:
        message = "camera: a buffer that cannot be mapped"
        raise BufferError(message)
    return lend_plane(array, width_px=size[0], height_px=size[1])

"""A folder of pictures as a camera, and single pictures for the bench."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.base.clock import Clock
from agent.base.errors import InputError
from agent.base.records import Frame, Plane
from agent.camera.container import SIDES_PX
from agent.vision.image import decode_picture

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LIMIT_BYTES = 64 * 1024 * 1024
"""No picture of a road is larger."""


class PictureFolder:
    """The JPEG and PNG files of a folder in the order of their names, one frame each."""

    def __init__(
        self,
        folder: Path,
        *,
        make_lores: Callable[[Plane], Plane],
        clock: Clock,
        interval_s: float = 1 / 30,
        realtime: bool = False,
    ) -> None:
        """List the folder.

        Args:
            folder: Where the pictures are.
            make_lores: Makes the detector's view of a picture, `vision.image.shrink_plane`.
            clock: Dates the first picture, and paces them.
            interval_s: Time from one picture to the next.
            realtime: Wait that long before each.

        Raises:
            InputError: There is no picture.
        """
        self._paths = list_pictures(folder)
        if not self._paths:
            message = f"{folder}: found no .jpg or .png file; expected a folder of pictures"
            raise InputError(message)
        self._make_lores, self._clock, self._paced = make_lores, clock, realtime
        self._interval_s = interval_s
        self._broken = 0

    @property
    def broken_frames(self) -> int:
        """Files that are no picture and were left out so far."""
        return self._broken

    @property
    def is_live(self) -> bool:
        """Whether frames come at a pace of their own."""
        return self._paced

    @property
    def keeps_frames(self) -> bool:
        """Yes: each picture has memory of its own."""
        return True

    def frames(self) -> Iterator[Frame]:
        """Give the pictures that can be read.

        Raises:
            InputError: None can, or one has an impossible size.
        """
        started_at, started_ns = self._clock.now(), self._clock.monotonic_ns()
        for index, path in enumerate(self._paths):
            try:
                plane = read_picture(path)
            except UnreadableError:
                self._broken += 1
                continue
            at_s = index * self._interval_s
            if self._paced:
                elapsed_s = (self._clock.monotonic_ns() - started_ns) / 1e9
                self._clock.wait_s(max(at_s - elapsed_s, 0.0))
            yield make_frame(
                check_size(plane, place=str(path)),
                index=index - self._broken,
                captured_at=started_at + timedelta(seconds=at_s),
                sensor_ns=started_ns + round(at_s * 1e9),
                make_lores=self._make_lores,
            )
        if self._broken == len(self._paths):
            message = f"{self._paths[0].parent}: no picture could be decoded; expected JPEG or PNG"
            raise InputError(message)

    def __enter__(self) -> Self:
        """Return the folder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Do nothing: no picture stays open."""


class UnreadableError(InputError):
    """A file is no picture, or a broken one."""


def list_pictures(folder: Path) -> tuple[Path, ...]:
    """Return the pictures of `folder`, sorted by name; none where it is no folder."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES))


def read_picture(path: Path) -> Plane:
    """Return the luminance of a picture file.

    Raises:
        UnreadableError: The file is missing, too large, no picture or a broken one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected a picture"
        raise UnreadableError(message) from error
    plane = decode_picture(content) if len(content) <= LIMIT_BYTES else None
    if plane is None:
        message = f"{path}: {len(content)} bytes that do not decode; expected a JPEG or PNG file"
        raise UnreadableError(message)
    return plane


def check_size(plane: Plane, *, place: str) -> Plane:
    """Return `plane` after its size was found possible for a picture of a road.

    Raises:
        InputError: A side is too short or too long.
    """
    low, high = SIDES_PX
    rows, columns = plane.shape
    if not (low <= rows <= high and low <= columns <= high):
        message = f"{place}: found {columns}x{rows} pixels; expected {low} to {high} a side"
        raise InputError(message)
    return plane


def make_frame(
    plane: Plane,
    *,
    index: int,
    captured_at: datetime,
    sensor_ns: int,
    make_lores: Callable[[Plane], Plane],
) -> Frame:
    """Return a frame that shows `plane`."""
    return Frame(
        index=index,
        captured_at=captured_at,
        sensor_ns=sensor_ns,
        y=plane,
        lores=make_lores(plane),
    )

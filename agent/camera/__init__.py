"""Sources of frames. Each fits the Protocol `Camera`; the stages know nothing else of them."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from agent.base.records import Frame


class Source(Protocol):
    """What the watcher is given: a camera that may also say that no frame came for a while."""

    @property
    def broken_frames(self) -> int:
        """As `Camera`."""
        ...

    @property
    def dropped_frames(self) -> int:
        """Frames that a newer one replaced before anybody asked for them."""
        ...

    def frames(self) -> Iterator[Frame | None]:
        """As `Camera`; None each time that a moment has passed without a frame."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give everything back; a second time does nothing."""
        ...


class Camera(Protocol):
    """Something that gives frames; it is open until its `with` block ends."""

    @property
    def broken_frames(self) -> int:
        """Frames that arrived damaged and were left out so far."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether frames come at a pace of their own; if not, the camera waits to be asked."""
        ...

    @property
    def keeps_frames(self) -> bool:
        """Whether the planes of a frame hold for as long as somebody holds the frame."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Give one frame after the other.

        The planes of a frame are views into the camera's buffer: they hold until the next frame
        is asked for, or for longer where `keeps_frames` says so. To be called once.

        Raises:
            InputError: A file or folder turns out to be unusable.
            DeviceError: The camera fell silent.
        """
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give everything back; a second time does nothing."""
        ...

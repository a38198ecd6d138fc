"""A camera behind the unit's privacy mask: what is hidden never reaches the stages."""

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from agent.base.records import Frame
from agent.camera import Camera
from agent.vision.mask import Mask, Polygons, blank_plane, draw_mask


class MaskedCamera:
    """Gives the frames of another camera with the mask applied.

    Args:
        camera: Any source of frames.
        polygons: What is hidden, in shares of the picture; at least one.
    """

    def __init__(self, camera: Camera, polygons: Polygons) -> None:
        self._camera, self._polygons = camera, polygons
        self._mask: Mask | None = None

    @property
    def broken_frames(self) -> int:
        """Frames that arrived damaged and were left out so far."""
        return self._camera.broken_frames

    @property
    def is_live(self) -> bool:
        """As the camera within."""
        return self._camera.is_live

    @property
    def keeps_frames(self) -> bool:
        """As the camera within; the mask is the same for all frames of a size."""
        return self._camera.keeps_frames

    def frames(self) -> Iterator[Frame]:
        """Give one frame after the other; see `Camera.frames`."""
        return map(self._hide, self._camera.frames())  # keeps no frame while it waits for the next

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
        """Give everything back."""
        self._camera.__exit__(kind, error, traceback)

    def _hide(self, frame: Frame) -> Frame:
        mask = self._mask
        if mask is None or mask.hidden.shape != frame.y.shape:
            mask = draw_mask(self._polygons, shape=frame.y.shape, lores_shape=frame.lores.shape)
            self._mask = mask
        return replace(frame, lores=blank_plane(frame.lores, mask), hidden=mask.hidden)

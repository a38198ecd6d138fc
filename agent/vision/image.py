"""Planes of grey pixels: smaller, padded, as JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(H, W) luminance; rows may be longer in memory than W."""

PAD_GRAY = 114
"""What the detector saw beyond the edges when it was trained; the usual letterbox grey."""


def shrink_plane(plane: Plane, *, width_px: int) -> Plane:
    """Return `plane` averaged down to `width_px`, or `plane` itself where it is no wider.

    The aspect is kept as far as even sizes allow, as an ISP's second stream has them.
    """
    rows, columns = plane.shape
    if columns <= width_px:
        return plane
    width = width_px // 2 * 2
    height = max(2, round(rows * width / columns / 2) * 2)
    small = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


class Canvas:
    """Memory for pictures that are padded, used again and again."""

    __slots__ = ("_memory", "_shape")

    def __init__(self) -> None:
        """Begin without memory; the first picture says how much."""
        self._memory, self._shape = np.empty((0, 0), np.uint8), (0, 0)

    def pad(self, plane: Plane, *, multiple_px: int) -> Plane:
        """Return `plane` grown right and down with grey to whole multiples, contiguous in memory.

        The result holds until the next call. A plane that fits already comes back as it is.
        """
        rows, columns = plane.shape
        height = -(-rows // multiple_px) * multiple_px
        width = -(-columns // multiple_px) * multiple_px
        if (height, width) == (rows, columns):
            return np.ascontiguousarray(plane)
        if self._memory.shape != (height, width) or self._shape != (rows, columns):
            self._memory = np.full((height, width), PAD_GRAY, np.uint8)
            self._shape = rows, columns
        self._memory[:rows, :columns] = plane
        return self._memory


def encode_jpeg(plane: Plane, *, quality: int) -> bytes:
    """Return `plane` as a JPEG file, empty where none can be made; `quality` 1 to 100."""
    settings = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    try:
        written, content = cv2.imencode(".jpg", plane, settings)
    except cv2.error:  # a read is worth more than its picture
        return b""
    return content.tobytes() if written else b""


def decode_picture(content: bytes) -> Plane | None:
    """Return the luminance of a JPEG or PNG file, or None where it is neither or is broken."""
    if not content:
        return None
    plane = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    return None if plane is None else np.asarray(plane, np.uint8)

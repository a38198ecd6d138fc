"""Stands in for the display of picamera2's previews, which a unit has not: import needs a name."""

from types import SimpleNamespace

_FORMATS = "RGB888 BGR888 XRGB8888 XBGR8888 YUV420 YVU420 NV12"
PixelFormat = SimpleNamespace(**dict.fromkeys(_FORMATS.split()))

"""What is used of picamera2, and the only place that imports it."""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from agent.base.errors import DeviceError
from agent.camera.lease import Mapped, Request

Configuration = dict[str, Any]
"""picamera2's, with `main`, `lores`, `sensor` and more."""


class Device(Protocol):
    """picamera2's `Picamera2`, an open camera (The Picamera2 Library, chapters 4 to 6)."""

    camera_controls: Mapping[str, tuple[Any, Any, Any]]
    """Smallest, largest and usual value of each control that this camera knows."""
    sensor_modes: list[dict[str, Any]]

    def create_video_configuration(self, **options: Any) -> Configuration:  # noqa: ANN401  as it is
        """Return a configuration to be changed and applied."""
        ...

    def align_configuration(self, configuration: Configuration, /) -> None:
        """Shrink the sizes to what the memory of this board likes."""
        ...

    def configure(self, configuration: Configuration, /) -> None:
        """Apply a configuration; libcamera may adjust it. The camera must not run."""
        ...

    def camera_configuration(self) -> Configuration:
        """Return what was applied in truth."""
        ...

    def start(self) -> None:
        """Let frames come."""
        ...

    def stop(self) -> None:
        """Let no more come; hangs when picamera2's own thread has died."""
        ...

    def close(self) -> None:
        """Give the camera to others."""
        ...

    def capture_request(self, *, wait: float) -> Request:
        """Wait for a frame; TimeoutError, or CancelledError where another thread cancelled."""
        ...

    def cancel_all_and_flush(self) -> None:
        """Forget those who wait: a wait that timed out would swallow the next frame."""
        ...

    def set_controls(self, controls: Mapping[str, Any], /) -> None:
        """Change controls some frames from now; RuntimeError where one is not known."""
        ...


class Library(Protocol):
    """The package picamera2, or a simulator of it."""

    def Picamera2(self, number: int, /) -> Device:  # noqa: N802  its name
        """Open a camera; RuntimeError, or IndexError before 0.3.37, where there is none."""
        ...

    def MappedArray(self, request: Request, stream: str, *, write: bool) -> Mapped:  # noqa: N802
        """Map a buffer."""
        ...


def load_library() -> Library:
    """Return the package picamera2.

    Raises:
        DeviceError: It is not installed, or finds no libcamera.
    """
    try:
        library: Library = importlib.import_module("picamera2")
    except ImportError as error:
        message = f"picamera2: cannot be loaded ({error}); expected it on a Raspberry Pi; "
        message += "apt install python3-picamera2, and an environment with --system-site-packages"
        raise DeviceError(message) from error
    return library

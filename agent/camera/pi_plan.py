"""What picamera2 is asked for, and what it made of it."""

from typing import Any, Final

from agent.base.errors import ConfigError, DeviceError
from agent.base.settings import CameraSettings
from agent.camera.picamera2_library import Configuration, Device

STREAMS: Final = ("main", "lores")
FORMAT: Final = "YUV420"
LUMA_FIRST: Final = ("YUV420", "NV12")
"""Formats whose buffer begins with the Y plane; some cameras have only the second."""
BUFFERS: Final = 6
"""Three may be held by the watcher; the sensor's processor wants two of its own."""
NEARLY: Final = 0.99
"""A mode of 29.97 frames a second is one of 30."""
_MANUAL_FOCUS: Final = 0
"""AfModeManual (libcamera, control_ids_core.yaml)."""

Size = tuple[int, int]


def plan_configuration(device: Device, settings: CameraSettings) -> Configuration:
    """Return what to ask for: two streams, a pinned sensor mode, a fixed frame rate and focus.

    One completed frame is kept by picamera2 (`queue`): who comes late gets it at once instead of
    waiting for the next. It is at most one frame old, and dated by its sensor all the same.

    Raises:
        ConfigError: The settings name a sensor mode that the sensor has not.
    """
    plan = device.create_video_configuration(
        main={"size": settings.size_px, "format": FORMAT},
        lores={"size": choose_lores(settings), "format": FORMAT},
        raw=None,
        buffer_count=BUFFERS,
        queue=True,
        display=None,
        encode=None,
    )
    mode = choose_mode(device, settings)
    if mode is not None:
        plan["sensor"] = {"output_size": mode["size"], "bit_depth": mode["bit_depth"]}
    plan["controls"] = {**plan.get("controls", {}), **choose_controls(device, settings)}
    device.align_configuration(plan)
    return plan


def choose_lores(settings: CameraSettings) -> Size:
    """Return the size of the detector's picture: the view of the main one, in even numbers."""
    width, height = settings.size_px
    small = min(settings.lores_width_px, width) // 2 * 2
    return small, max(2, round(height * small / width / 2) * 2)


def choose_mode(device: Device, settings: CameraSettings) -> dict[str, Any] | None:
    """Return the sensor mode to pin; None for cameras that have none, such as those on USB.

    Raises:
        ConfigError: None fits the settings.
    """
    if settings.sensor_size_px is not None and settings.sensor_bits is not None:
        return {"size": settings.sensor_size_px, "bit_depth": settings.sensor_bits}
    modes = device.sensor_modes  # picamera2 tries each mode out to list them
    known = [mode for mode in modes if "size" in mode and "bit_depth" in mode]
    if not known:
        return None
    fitting = [mode for mode in known if _fits(mode, settings)]
    if not fitting:
        told = ", ".join(f"{_tell(mode['size'])} {mode['bit_depth']} bits" for mode in known)
        message = "camera: no sensor mode for [camera] sensor_size_px, sensor_bits, size_px and "
        message += f"frames_per_s; expected one of {told}"
        raise ConfigError(message)
    return min(fitting, key=lambda mode: (mode["size"][0] * mode["size"][1], mode["bit_depth"]))


def _fits(mode: dict[str, Any], settings: CameraSettings) -> bool:
    if settings.sensor_bits is not None and mode["bit_depth"] != settings.sensor_bits:
        return False
    if settings.sensor_size_px is not None:
        return tuple(mode["size"]) == settings.sensor_size_px
    width, height = mode["size"]
    is_large = bool(width >= settings.size_px[0] and height >= settings.size_px[1])
    return is_large and float(mode.get("fps", 1000)) >= settings.frames_per_s * NEARLY


def choose_controls(device: Device, settings: CameraSettings) -> dict[str, Any]:
    """Return the controls that never change, as far as this camera knows them."""
    interval_us = round(1e6 / settings.frames_per_s)
    wanted: dict[str, Any] = {"FrameDurationLimits": (interval_us, interval_us)}
    if settings.focus_m is not None:
        wanted |= {"AfMode": _MANUAL_FOCUS, "LensPosition": 1 / settings.focus_m}  # dioptres
    return {name: value for name, value in wanted.items() if name in device.camera_controls}


def read_sizes(found: Configuration, asked: Configuration, *, place: str) -> dict[str, Size]:
    """Return the size of the picture of each stream, as libcamera made it.

    Raises:
        DeviceError: Another format than one with the Y plane first, rows shorter than the picture,
            or another sensor mode than the one that was pinned.
    """
    sizes = {}
    for name in STREAMS:
        part = found.get(name)
        if part is None:
            continue
        width, height = part["size"]
        if part["format"] not in LUMA_FIRST or part["stride"] < width:
            message = f"{place}: {name} is {_tell(part['size'])} {part['format']} with rows of "
            message += f"{part['stride']} bytes; expected {' or '.join(LUMA_FIRST)}"
            raise DeviceError(message)
        sizes[name] = (width, height)
    pinned, got = asked.get("sensor"), found.get("sensor")
    if pinned and got and tuple(got["output_size"]) != tuple(pinned["output_size"]):
        message = f"{place}: the sensor runs at {_tell(got['output_size'])}; expected "
        message += f"{_tell(pinned['output_size'])}, as asked"
        raise DeviceError(message)
    return sizes


def _tell(size: Size) -> str:
    return f"{size[0]}x{size[1]}"

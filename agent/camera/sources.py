"""The camera that the settings name, behind the mask that they state."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from agent.base.clock import Clock, read_sensor_clocks
from agent.base.health import CameraState
from agent.base.settings import Settings
from agent.camera import Camera
from agent.camera.container import Wish, is_address, is_device
from agent.camera.masked import MaskedCamera
from agent.camera.pi import PiCamera, Surroundings
from agent.camera.picamera2_library import Library, load_library
from agent.camera.pictures import PictureFolder
from agent.camera.video import VideoFile
from agent.vision.image import shrink_plane

PICAMERA2: Final = re.compile(r"picamera2:([0-9])")
"""A camera on the unit, by its number."""


def open_camera(
    settings: Settings,
    *,
    clock: Clock,
    state: CameraState | None = None,
    load: Callable[[], Library] = load_library,
) -> Camera:
    """Return the source of frames that `settings` name.

    Args:
        settings: Of the unit.
        clock: The unit's.
        state: Where a camera on the unit tells how it is.
        load: Gives picamera2; called only where the settings name it.

    Raises:
        InputError: The file or folder cannot be used.
        DeviceError: The address or device does not answer; picamera2 is missing.
    """
    camera = _open_bare(settings, clock, state or CameraState(), load)
    return MaskedCamera(camera, settings.mask.polygons) if settings.mask.polygons else camera


def is_on_unit(source: str) -> bool:
    """Tell a camera on the unit from recordings and addresses."""
    return PICAMERA2.fullmatch(source) is not None or is_device(source)


def is_live(source: str) -> bool:
    """Tell a camera, here or elsewhere, from recordings."""
    return is_on_unit(source) or is_address(source)


def _open_bare(
    settings: Settings, clock: Clock, state: CameraState, load: Callable[[], Library]
) -> Camera:
    chosen = settings.camera
    make_lores = partial(shrink_plane, width_px=chosen.lores_width_px)
    number = PICAMERA2.fullmatch(chosen.source)
    if number is not None:
        around = Surroundings(
            clock=clock,
            clocks=partial(read_sensor_clocks, clock),
            make_lores=make_lores,
            state=state,
        )
        exposure = settings.exposure
        return PiCamera(int(number[1]), load(), camera=chosen, exposure=exposure, around=around)
    folder = Path(chosen.source)
    if folder.is_dir():
        return PictureFolder(folder, make_lores=make_lores, clock=clock, realtime=chosen.realtime)
    wish = Wish(size_px=chosen.size_px, frames_per_s=chosen.frames_per_s)
    return VideoFile(
        chosen.source,
        make_lores=make_lores,
        clock=clock,
        realtime=chosen.realtime,
        waits=not settings.shedding.enabled,
        wish=wish,
    )

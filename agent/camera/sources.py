"""The camera that the settings name."""

from functools import partial
from pathlib import Path

from agent.base.clock import Clock
from agent.base.settings import CameraSettings
from agent.camera import Camera
from agent.camera.pictures import PictureFolder
from agent.camera.video import VideoFile
from agent.vision.image import shrink_plane


def open_camera(settings: CameraSettings, *, clock: Clock) -> Camera:
    """Return the source of frames that `settings` name: a folder, a file or an address.

    Raises:
        InputError: The file or folder cannot be used.
        DeviceError: The address does not answer.
    """
    make_lores = partial(shrink_plane, width_px=settings.lores_width_px)
    folder = Path(settings.source)
    if folder.is_dir():
        return PictureFolder(folder, make_lores=make_lores, clock=clock, realtime=settings.realtime)
    return VideoFile(
        settings.source, make_lores=make_lores, clock=clock, realtime=settings.realtime
    )

"""The camera that the settings name, behind the mask that they state."""

from functools import partial
from pathlib import Path

from agent.base.clock import Clock
from agent.base.settings import Settings
from agent.camera import Camera
from agent.camera.masked import MaskedCamera
from agent.camera.pictures import PictureFolder
from agent.camera.video import VideoFile
from agent.vision.image import shrink_plane


def open_camera(settings: Settings, *, clock: Clock) -> Camera:
    """Return the source of frames that `settings` name: a folder, a file or an address.

    Raises:
        InputError: The file or folder cannot be used.
        DeviceError: The address does not answer.
    """
    camera = _open_bare(settings, clock)
    return MaskedCamera(camera, settings.mask.polygons) if settings.mask.polygons else camera


def _open_bare(settings: Settings, clock: Clock) -> Camera:
    chosen = settings.camera
    make_lores = partial(shrink_plane, width_px=chosen.lores_width_px)
    folder = Path(chosen.source)
    if folder.is_dir():
        return PictureFolder(folder, make_lores=make_lores, clock=clock, realtime=chosen.realtime)
    return VideoFile(chosen.source, make_lores=make_lores, clock=clock, realtime=chosen.realtime)

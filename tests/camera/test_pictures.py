"""Folders of pictures."""

from datetime import timedelta
from functools import partial

import numpy as np
import pytest

from agent.base.errors import InputError
from agent.base.settings import CameraSettings, MaskSettings, Settings
from agent.camera.pictures import PictureFolder, UnreadableError, check_size, read_picture
from agent.camera.sources import open_camera
from agent.camera.video import VideoFile
from agent.vision.image import PAD_GRAY, shrink_plane
from tests.camera.videos import write_picture, write_video
from tests.fakes import NOON, FakeClock

LORES = partial(shrink_plane, width_px=80)


def open_folder(path, clock=None, **options):
    return PictureFolder(path, make_lores=LORES, clock=clock or FakeClock(), **options)


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    expected = {
        name: write_picture(tmp_path / name, size=size)
        for name, size in (("b.png", (200, 100)), ("a.png", (160, 96)), ("c.PNG", (96, 72)))
    }
    (tmp_path / "notes.txt").write_text("no picture")
    with open_folder(tmp_path, interval_s=0.5) as folder:
        frames = list(folder.frames())
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.captured_at - NOON for frame in frames] == [
        timedelta(seconds=seconds) for seconds in (0, 0.5, 1)
    ]
    for frame, name in zip(frames, sorted(expected), strict=True):
        np.testing.assert_array_equal(frame.y, expected[name])
        assert frame.lores.shape[1] == 80


def test_a_broken_picture_is_counted_and_left_out(tmp_path):
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    write_picture(tmp_path / "c.jpg")
    with open_folder(tmp_path) as folder:
        assert [frame.index for frame in folder.frames()] == [0, 1]
        assert folder.broken_frames == 1


def test_real_time_waits_between_pictures(tmp_path):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name)
    clock = FakeClock()
    with open_folder(tmp_path, clock, interval_s=2.0, realtime=True) as folder:
        assert len(list(folder.frames())) == 2
    assert clock.waits_s == [0.0, 2.0]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_a_folder_without_pictures_is_refused(tmp_path, exists):
    folder = tmp_path / "pictures"
    if exists:
        folder.mkdir()
    with pytest.raises(InputError, match=r"no \.jpg or \.png"):
        open_folder(folder)


def test_a_folder_of_nothing_but_broken_pictures_ends_in_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with open_folder(tmp_path) as folder, pytest.raises(InputError, match="no picture could be"):
        list(folder.frames())


@pytest.mark.parametrize("size", [(48, 96), (96, 40)], ids=["narrow", "flat"])
def test_a_picture_of_an_impossible_size_ends_in_an_error(tmp_path, size):
    write_picture(tmp_path / "a.png", size=size)
    with open_folder(tmp_path) as folder, pytest.raises(InputError, match=f"{size[0]}x{size[1]}"):
        list(folder.frames())


def test_a_size_within_the_limits_is_let_through():
    plane = np.zeros((64, 8192), np.uint8)
    assert check_size(plane, place="a.png") is plane


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(UnreadableError, match=r"a\.jpg: cannot be read"):
        read_picture(tmp_path / "a.jpg")


def test_the_settings_choose_between_folder_and_file(tmp_path):
    write_picture(tmp_path / "a.png")
    write_video(tmp_path / "a.mp4", count=2)
    clock = FakeClock()
    assert isinstance(open_camera(settings(tmp_path), clock=clock), PictureFolder)
    with open_camera(settings(tmp_path / "a.mp4"), clock=clock) as video:
        assert isinstance(video, VideoFile)


def test_a_mask_in_the_settings_stands_before_any_camera(tmp_path):
    write_picture(tmp_path / "a.png")
    left = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
    with open_camera(settings(tmp_path, polygons=left), clock=FakeClock()) as camera:
        (frame,) = camera.frames()
    columns = frame.y.shape[1]
    assert frame.hidden[:, : columns // 2].all()
    assert not frame.hidden[:, columns // 2 + 4 :].any()
    assert (frame.lores[:, : columns // 2] == PAD_GRAY).all()


def settings(source, polygons=()):
    return Settings(
        unit="unit-7",
        camera=CameraSettings(source=str(source)),
        mask=MaskSettings(polygons=polygons),
    )

"""The mask before a camera, with the real models: what is under it changes nothing that is kept."""

from itertools import islice

import numpy as np
import pytest

from agent.base.settings import DetectSettings, ModelSettings
from agent.camera.masked import MaskedCamera
from agent.camera.video import VideoFile
from agent.cli.models import open_models
from agent.detect import detect_plates
from agent.vision.mask import draw_hidden
from tests.fakes import LORES, FakeCamera, FakeClock
from tests.plates import make_corners, show_plates
from tests.seeing import drive, watch

CLIP = "tests/data/demo.mp4"
LEFT = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
FREE, HALF, UNDER = "7KXR482", "3CEH915", "8TNP036"


@pytest.fixture(scope="module")
def models():
    return open_models(ModelSettings(), DetectSettings())


def told(reads):
    """Return all that is kept of reads, pictures included."""
    return [
        (read.text.characters, read.confidences, read.corners, read.crop_jpeg, read.frames_seen)
        for read in reads
    ]


def paint(pictures, polygons, *, seed):
    """Return the pictures with noise under the mask."""
    hidden = draw_hidden(polygons, shape=pictures[0].shape)
    rng = np.random.default_rng(seed)
    return [np.where(hidden, rng.integers(0, 256, hidden.shape, np.uint8), p) for p in pictures]


def behind(pictures, polygons):
    return MaskedCamera(FakeCamera(pictures, clock=FakeClock()), polygons)


def test_a_plate_half_under_the_mask_is_not_read_and_its_neighbour_is(models):
    polygons = (((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0)),)  # to x = 192 of 640
    pictures = drive((HALF, 0, 130), (FREE, 0, 380), frames=20)
    assert {read[0] for read in told(watch(FakeCamera(pictures, clock=FakeClock()), models))} == {
        HALF,
        FREE,
    }
    (read,) = watch(behind(pictures, polygons), models)
    assert read.text.characters == FREE


def test_what_is_under_the_mask_changes_no_byte_of_what_is_kept(models):
    pictures = drive((HALF, 0, 270), (FREE, 0, 400), (UNDER, 2, 40), frames=22)
    reads = told(watch(behind(pictures, LEFT), models))
    assert [read[0] for read in reads] == [FREE]
    assert told(watch(behind(paint(pictures, LEFT, seed=1), LEFT), models)) == reads


def test_a_plate_cut_by_a_slanted_mask_leaves_no_piece(models):
    slanted = (((0.0, 0.0), (0.62, 0.0), (0.38, 1.0), (0.0, 1.0)),)
    picture = show_plates({HALF: make_corners(260, 200, 120, 60)}, width=640, height=480)
    assert watch(behind([picture] * 6, slanted), models) == []


def test_on_the_clip_nothing_changes_with_what_is_under_the_mask(models):
    with VideoFile(CLIP, make_lores=LORES, clock=FakeClock()) as video:
        pictures = [frame.y.copy() for frame in islice(video.frames(), 25, 100)]
    bare = told(watch(FakeCamera(pictures, clock=FakeClock()), models))
    reads = told(watch(behind(pictures, LEFT), models))
    assert told(watch(behind(paint(pictures, LEFT, seed=2), LEFT), models)) == reads
    assert 0 < len(reads) < len(bare)
    middle = pictures[0].shape[1] / 2
    assert all(min(read[2][::2]) > middle for read in reads)


def test_the_frame_itself_is_left_as_the_camera_gave_it(models):
    pictures = drive((UNDER, 0, 60), frames=2)
    with behind(pictures, LEFT) as camera:
        for frame, picture in zip(camera.frames(), pictures, strict=True):
            np.testing.assert_array_equal(frame.y, picture)
            assert len(detect_plates(frame, models.detector).scores) == 0
    assert camera.broken_frames == 0


def test_pictures_of_two_sizes_are_each_masked_in_their_own():
    small, large = np.zeros((240, 320), np.uint8), np.zeros((480, 640), np.uint8)
    frames = []
    for picture in (small, large):
        with behind([picture], LEFT) as camera:
            frames += list(camera.frames())
    assert [frame.hidden.shape for frame in frames] == [small.shape, large.shape]

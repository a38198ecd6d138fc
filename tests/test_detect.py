"""Plates of a frame, from what the detector says."""

import numpy as np
import pytest

from agent.base.records import Frame
from agent.detect import Detector, detect_plates
from agent.vision.image import shrink_plane
from tests.fakes import NOON

PLATE = np.array([[100, 100], [160, 102], [160, 122], [100, 120]], np.float32)


class Answers:
    """A network that gives the same answer to every picture, and keeps the last one."""

    def __init__(self, scores, corners):
        self.answer = np.array(scores, np.float32), np.array(corners, np.float32)
        self.picture = None

    def run(self, pixels, /):
        """Answer."""
        self.picture = pixels
        return self.answer


def make_frame(*, width=1280, height=720, lores_width=640) -> Frame:
    y = np.full((height, width), 50, np.uint8)
    lores = shrink_plane(y, width_px=lores_width)
    return Frame(index=0, captured_at=NOON, sensor_ns=0, y=y, lores=lores)


def detect(network, frame=None, *, threshold=0.5, max_plates=16):
    detector = Detector(network=network, stride=32, threshold=threshold, max_plates=max_plates)
    return detect_plates(frame or make_frame(), detector)


def test_corners_come_back_in_pixels_of_the_full_frame():
    found = detect(Answers([0.9], [PLATE]))
    np.testing.assert_allclose(found.corners[0], PLATE * 2)


def test_the_two_axes_are_scaled_each_by_its_own_ratio():
    y, lores = np.zeros((1080, 1456), np.uint8), np.zeros((480, 640), np.uint8)
    frame = Frame(index=0, captured_at=NOON, sensor_ns=0, y=y, lores=lores)
    found = detect(Answers([0.9], [PLATE]), frame)
    np.testing.assert_allclose(found.corners[0], PLATE * [1456 / 640, 1080 / 480], rtol=1e-5)


def test_the_detector_is_given_the_view_padded_to_its_stride():
    network = Answers([0.9], [PLATE])
    detect(network)
    assert network.picture.shape == (1, 1, 384, 640)
    assert network.picture.dtype == np.uint8
    assert set(network.picture[0, 0, :360].ravel()) == {50}
    assert set(network.picture[0, 0, 360:].ravel()) == {114}


def test_plates_below_the_threshold_are_left_out():
    found = detect(Answers([0.9, 0.4], [PLATE, PLATE + 200]))
    assert found.scores.tolist() == pytest.approx([0.9])


def test_quads_that_cannot_be_plates_are_left_out():
    network = Answers([0.9, 0.8], [PLATE[::-1], PLATE + 200])
    assert detect(network).scores.tolist() == pytest.approx([0.8])


def test_a_plate_found_twice_is_given_once():
    network = Answers([0.9, 0.8, 0.7], [PLATE, PLATE + 3, PLATE + 200])
    assert detect(network).scores.tolist() == pytest.approx([0.9, 0.7])


def test_no_more_plates_than_asked_for_and_the_best_ones():
    network = Answers([0.9, 0.8, 0.7], [PLATE, PLATE + 100, PLATE + 200])
    assert detect(network, max_plates=2).scores.tolist() == pytest.approx([0.9, 0.8])


def test_an_empty_road_gives_no_plates():
    found = detect(Answers([0.1], [PLATE]))
    assert found.scores.shape == (0,)
    assert found.corners.shape == (0, 4, 2)

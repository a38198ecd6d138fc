"""What the check measures of a picture: light, contrast, blur."""

import cv2
import numpy as np
import pytest

from agent.cli.check.picture import (
    combine_light,
    measure_blur_px,
    measure_light,
    measure_scene_blur_px,
)
from tests.plates import render


def edge(sigma, *, size=96, low=40, high=200):
    """Return a picture of one upright edge, blurred."""
    step = np.full((size, size), low, np.float32)
    step[:, size // 2 :] = high
    return np.round(cv2.GaussianBlur(step, (0, 0), sigma)).astype(np.uint8)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0])
def test_the_blur_of_an_edge_is_the_deviation_it_was_blurred_by(sigma):
    taken_over_three_pixels = 0.72
    expected = np.hypot(sigma, taken_over_three_pixels)
    assert measure_blur_px(edge(sigma)) == pytest.approx(expected, rel=0.1)


def test_the_blur_does_not_depend_on_the_light():
    bright, dim = edge(2.0, low=20, high=240), edge(2.0, low=90, high=130)
    assert measure_blur_px(bright) == pytest.approx(measure_blur_px(dim), rel=0.1)


def test_a_plate_that_is_blurred_more_measures_more():
    face = cv2.resize(render("7KXR482"), (120, 60), interpolation=cv2.INTER_AREA)
    measured = [measure_blur_px(cv2.GaussianBlur(face, (0, 0), s)) for s in (0.5, 1, 2, 3)]
    assert measured == sorted(measured)
    assert measured[-1] > 2 * measured[0]


def test_a_plain_picture_has_no_edge_to_measure():
    assert measure_blur_px(np.full((64, 64), 120, np.uint8)) is None
    assert measure_scene_blur_px(np.full((256, 256), 120, np.uint8)) is None


def stripes(sigma):
    """Return a scene (256, 512) of upright stripes, blurred."""
    row = np.where(np.arange(512) // 40 % 2, 200, 40).astype(np.float32)
    scene = np.broadcast_to(row, (256, 512)).copy()
    return np.round(cv2.GaussianBlur(scene, (0, 0), sigma)).astype(np.uint8)


def test_a_scene_is_as_sharp_as_its_sharpest_parts_that_are_not_hidden():
    scene, shown = stripes(3.0), np.ones((256, 512), np.bool_)
    scene[:, :256] = stripes(0.6)[:, :256]
    assert measure_scene_blur_px(scene) < 1.1
    shown[:, :260] = False
    assert measure_scene_blur_px(scene, shown) > 2


def test_light_tells_level_contrast_and_what_is_lost():
    half = np.zeros((10, 20), np.uint8)
    half[:, 10:] = 255
    light = measure_light(half)
    assert (light.contrast, light.dark_share, light.bright_share) == (255, 0.5, 0.5)
    gray = measure_light(np.full((10, 20), 80, np.uint8))
    assert (gray.middle, gray.contrast, gray.dark_share, gray.bright_share) == (80, 0, 0, 0)
    assert combine_light([light, gray, gray]).contrast == 0

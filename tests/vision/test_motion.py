"""What counts as moved: vehicles do, noise does not."""

import cv2
import numpy as np
import pytest

from agent.vision.motion import average_blocks, has_changed

LEAST = 6


def make_road(*, seed=1):
    """Return a picture of no great contrast (360, 640), as a road is."""
    soft = np.random.default_rng(seed).normal(0, 1, (360, 640))
    return np.clip(110 + 400 * cv2.GaussianBlur(soft, (0, 0), 8), 40, 200)


def shoot(road, *, noise=0.0, seed=0):
    """Return a picture of `road` by a sensor with that much noise."""
    shaken = road + np.random.default_rng(seed).normal(0, noise, road.shape)
    return np.clip(shaken, 0, 255).astype(np.uint8)


def moved(one, other):
    return has_changed(average_blocks(one), average_blocks(other), least_levels=LEAST)


@pytest.mark.parametrize("noise", [0, 2, 5, 10])
def test_noise_alone_is_no_motion(noise):
    road = make_road()
    first = shoot(road, noise=noise)
    seen = [moved(shoot(road, noise=noise, seed=seed), first) for seed in range(1, 101)]
    assert sum(seen) <= 3


@pytest.mark.parametrize("noise", [0, 2, 5, 10, 20])
@pytest.mark.parametrize("width", [12, 24, 60])
def test_the_smallest_plate_that_can_be_read_is_motion(noise, width):
    """A plate of 12 pixels here is 24 in the full picture; its ground differs from the road."""
    road = make_road()
    first = shoot(road, noise=noise)
    for seed, (x, y) in enumerate([(301, 150), (13, 21), (600 - width, 330)], 1):
        car = road.copy()
        car[y : y + width // 2, x : x + width] = 215
        assert moved(shoot(car, noise=noise, seed=seed), first)


def test_a_picture_that_moves_as_a_whole_is_motion():
    road = make_road()
    assert moved(shoot(np.roll(road, 12, axis=1)), shoot(road))


def test_a_slow_change_of_light_below_the_limit_is_none():
    road = make_road()
    assert not moved(shoot(road + LEAST - 2), shoot(road))


def test_pictures_of_different_sizes_differ():
    assert moved(np.zeros((360, 640), np.uint8), np.zeros((480, 640), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (359, 641), (478, 640)])
def test_pictures_of_any_size_have_blocks(shape):
    assert average_blocks(np.zeros(shape, np.uint8)).size >= 1

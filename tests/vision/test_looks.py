"""Corners are drawn in to the characters, and only then."""

import numpy as np
import pytest

from agent.vision.looks import centre_corners

CLASSES = 37
PLATE = np.array([[[0, 0], [200, 20], [200, 120], [0, 100]]], np.float32)


def columns_with(places, *, width=32):
    """Return columns (1, width, 37) that show a character at each of `places` and blank beside."""
    columns = np.full((1, width, CLASSES), -9.0, np.float32)
    columns[0, :, -1] = 0
    for number, place in enumerate(places):
        columns[0, place, -1], columns[0, place, number] = -9, 0
    return columns


def test_corners_end_beside_the_first_and_the_last_character():
    off, (quad,) = centre_corners(columns_with(range(8, 22, 2)), PLATE, margin_x=0.0)
    assert off.tolist() == [0]
    # Seven characters 2 columns apart from 8.5 to 20.5 of 32; half a character and 5 % beside.
    first, last = (8.5 - 1 - 0.7) / 32, (20.5 + 1 + 0.7) / 32
    along, down = np.array([200, 20]), np.array([0, 100])
    want = [first * along, last * along, last * along + down, first * along + down]
    assert quad == pytest.approx(np.array(want), abs=0.01)


def test_the_margin_of_the_crop_is_no_part_of_the_plate():
    places = range(8, 22, 2)
    _, (plain,) = centre_corners(columns_with(places), PLATE, margin_x=0.0)
    _, (wide,) = centre_corners(columns_with(places), PLATE, margin_x=0.08)
    assert np.ptp(wide[:, 0]) == pytest.approx(np.ptp(plain[:, 0]) * 1.16, abs=0.01)


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(range(3, 30, 4), id="characters from end to end"),
        pytest.param((), id="nothing read"),
        pytest.param((10, 14), id="too few characters"),
        pytest.param((14, 15, 16, 17), id="too narrow to be the number"),
    ],
)
def test_other_corners_stay_as_they_are(places):
    off, quads = centre_corners(columns_with(places), PLATE, margin_x=0.0)
    assert off.tolist() == []
    assert quads.shape == (0, 4, 2)


def test_drawn_in_corners_never_lie_outside_the_given_ones():
    _, (quad,) = centre_corners(columns_with((0, 4, 8, 12, 16)), PLATE, margin_x=0.0)
    assert quad[0] == pytest.approx(PLATE[0, 0])
    assert quad[:, 0].max() < 200

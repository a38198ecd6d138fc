"""Smaller, padded, encoded planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.image import PAD_GRAY, Canvas, decode_picture, encode_jpeg, shrink_plane

sides = st.integers(1, 200)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((1280, 720), 640, (640, 360)),
        ((1920, 1080), 640, (640, 360)),
        ((1456, 1088), 640, (640, 478)),
        ((768, 432), 641, (640, 360)),
        ((640, 480), 640, (640, 480)),
        ((320, 240), 640, (320, 240)),
    ],
)
def test_a_plane_shrinks_to_even_sides_and_its_aspect(size, width, expected):
    small = shrink_plane(np.zeros(size[::-1], np.uint8), width_px=width)
    assert small.shape == expected[::-1]


def test_a_plane_that_is_small_enough_is_not_copied():
    plane = np.zeros((48, 64), np.uint8)
    assert shrink_plane(plane, width_px=64) is plane


def test_shrinking_averages():
    plane = np.zeros((64, 64), np.uint8)
    plane[:, ::2] = 200
    assert set(shrink_plane(plane, width_px=32).ravel().tolist()) == {100}


@given(sides, sides, st.sampled_from([8, 32]))
def test_padding_grows_to_the_next_multiple_and_keeps_every_pixel(rows, columns, multiple):
    plane = np.full((rows, columns), 7, np.uint8)
    padded = Canvas().pad(plane, multiple_px=multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert 0 <= padded.shape[0] - rows < multiple
    assert 0 <= padded.shape[1] - columns < multiple
    assert (padded[:rows, :columns] == 7).all()
    assert (padded[rows:] == PAD_GRAY).all()
    assert (padded[:, columns:] == PAD_GRAY).all()


@given(st.lists(st.tuples(sides, sides), min_size=2, max_size=5))
def test_memory_that_is_used_again_shows_nothing_of_the_picture_before(shapes):
    canvas = Canvas()
    for number, shape in enumerate(shapes, 1):
        plane = np.full(shape, number, np.uint8)
        expected = Canvas().pad(plane, multiple_px=32)
        np.testing.assert_array_equal(canvas.pad(plane, multiple_px=32), expected)


def test_pictures_of_one_size_share_their_memory():
    canvas, plane = Canvas(), np.zeros((40, 40), np.uint8)
    assert canvas.pad(plane, multiple_px=32) is canvas.pad(plane + 1, multiple_px=32)


def test_a_view_with_longer_rows_becomes_contiguous():
    view = np.zeros((64, 100), np.uint8)[:, :64]
    assert Canvas().pad(view, multiple_px=32).flags.c_contiguous


def test_a_picture_survives_the_way_through_jpeg():
    plane = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    again = decode_picture(encode_jpeg(plane, quality=90))
    assert again is not None
    assert np.abs(again.astype(int) - plane).max() < 12


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_decodes_to_nothing(content):
    assert decode_picture(content) is None

"""The privacy mask hides every pixel that a polygon touches, and every plate that reaches in."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.shapes import check_polygon, measure_area
from agent.read import JPEG_MARGIN
from agent.vision import manifest
from agent.vision.geometry import cut_crops
from agent.vision.image import PAD_GRAY, shrink_plane
from agent.vision.looks import CENTRED_LOOKS, MARGIN_TURNS, SECOND_LOOKS
from agent.vision.mask import (
    CROP_MARGIN,
    GUARD_PX,
    blank_plane,
    draw_hidden,
    draw_mask,
    find_hidden,
    grow_quads,
)
from tests.plates import make_corners

SHAPE, LORES = (360, 640), (180, 320)
SQUARE = ((0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5))
shares = st.floats(0, 1)
rectangles = st.tuples(shares, shares, shares, shares).filter(
    lambda r: abs(r[0] - r[2]) > 0.01 and abs(r[1] - r[3]) > 0.01
)
lattice = st.integers(0, 4).map(lambda step: step / 4)
oblique = st.tuples(
    st.floats(-50, 640), st.floats(-50, 360), st.floats(30, 200), st.floats(15, 80),
    st.floats(-0.25, 0.25), st.floats(-0.25, 0.25),
)  # fmt: skip


def rectangle(x1, y1, x2, y2):
    return ((x1, y1), (x2, y1), (x2, y2), (x1, y2))


def quad(x, y, width, height, slant, lean):
    corners = make_corners(x, y, width, height)
    corners[1:3, 1] += slant * width
    corners[2:, 0] += lean * height
    return corners


@given(rectangles)
def test_every_pixel_of_a_rectangle_is_hidden_and_none_far_from_it(edges):
    hidden = draw_hidden([rectangle(*edges)], shape=SHAPE)
    x1, x2 = sorted((edges[0] * SHAPE[1], edges[2] * SHAPE[1]))
    y1, y2 = sorted((edges[1] * SHAPE[0], edges[3] * SHAPE[0]))
    inside = np.s_[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
    assert hidden[inside].all()
    around = GUARD_PX + 2
    hidden[
        max(int(y1) - around, 0) : int(y2) + around + 1,
        max(int(x1) - around, 0) : int(x2) + around + 1,
    ] = False
    assert not hidden.any()


@given(st.lists(st.tuples(lattice, lattice), min_size=3, max_size=6), st.integers(1, 2))
def test_a_polygon_that_is_taken_hides_at_least_its_area(corners, rounds):
    corners *= rounds
    with suppress(ValueError):
        check_polygon(corners, place="mask")
        assert draw_hidden([corners], shape=SHAPE).mean() >= abs(measure_area(corners))


def test_where_two_polygons_overlap_the_picture_is_hidden_all_the_same():
    other = rectangle(0.3, 0.3, 0.8, 0.8)
    both = draw_hidden([SQUARE, other], shape=SHAPE)
    apart = [draw_hidden([polygon], shape=SHAPE) for polygon in (SQUARE, other)]
    np.testing.assert_array_equal(both, apart[0] | apart[1])


@given(rectangles, st.integers(0, 2**32 - 1))
def test_what_is_hidden_does_not_change_one_pixel_of_the_blanked_picture(edges, seed):
    mask = draw_mask([rectangle(*edges)], shape=SHAPE, lores_shape=LORES)
    rng = np.random.default_rng(seed)
    plane = rng.integers(0, 256, SHAPE, np.uint8)
    other = np.where(mask.hidden, rng.integers(0, 256, SHAPE, np.uint8), plane)
    shown, masked = (shrink_plane(picture, width_px=LORES[1]) for picture in (plane, other))
    blanked = blank_plane(shown, mask)
    np.testing.assert_array_equal(blanked, blank_plane(masked, mask))
    assert (blanked[mask.keep == 0] == PAD_GRAY).all()
    np.testing.assert_array_equal(blanked[mask.keep > 0], shown[mask.keep > 0])


@given(st.lists(oblique, min_size=1, max_size=4), rectangles)
def test_a_crop_with_its_margin_takes_no_pixel_of_the_polygon(plates, edges):
    quads = np.stack([quad(*plate) for plate in plates])
    shown = ~find_hidden(quads, draw_hidden([rectangle(*edges)], shape=SHAPE))
    x1, x2 = sorted((edges[0] * SHAPE[1], edges[2] * SHAPE[1]))
    y1, y2 = sorted((edges[1] * SHAPE[0], edges[3] * SHAPE[0]))
    x, y = np.arange(SHAPE[1]), np.arange(SHAPE[0])[:, None]
    private = (x + 1 > x1) & (x < x2) & (y + 1 > y1) & (y < y2)
    picture = np.where(private, 255, 0).astype(np.uint8)
    margin = (CROP_MARGIN, CROP_MARGIN)
    assert not cut_crops(picture, quads[shown], size_px=(96, 48), margin=margin).any()


def test_a_plate_well_away_from_the_mask_is_shown():
    hidden = draw_hidden([SQUARE], shape=SHAPE)
    quads = np.stack([make_corners(400, 200, 100, 50), make_corners(250, 150, 100, 50)])
    np.testing.assert_array_equal(find_hidden(quads, hidden), [False, True])


def test_a_plate_beside_the_mask_is_hidden_when_only_its_margin_reaches_in():
    hidden = draw_hidden([SQUARE], shape=SHAPE)  # to x = 320 and GUARD_PX more
    near, clear = make_corners(340, 100, 100, 50), make_corners(350, 100, 100, 50)
    np.testing.assert_array_equal(find_hidden(np.stack([near, clear]), hidden), [True, False])


def test_a_plate_whose_margin_lies_beyond_the_horizon_is_hidden():
    far = np.array([[[0, 0], [100, 45], [100, 55], [0, 100]]], np.float32)
    assert not np.isfinite(grow_quads(far)).all()
    assert find_hidden(far, np.zeros(SHAPE, np.bool_)).all()


def test_the_margin_kept_clear_is_wider_than_any_that_a_crop_shows():
    (limit,) = {
        meta.le
        for name in ("margin_x", "margin_y")
        for meta in manifest.ReaderSpec.__annotations__[name].__metadata__
    }
    more = np.max(MARGIN_TURNS, axis=0) + np.max([*SECOND_LOOKS, *CENTRED_LOOKS], axis=0)
    assert max(*(limit + more), *JPEG_MARGIN) <= CROP_MARGIN


def test_the_share_tells_how_much_of_the_picture_is_hidden():
    assert draw_mask([SQUARE], shape=SHAPE, lores_shape=LORES).share == pytest.approx(
        1 / 16, rel=0.1
    )

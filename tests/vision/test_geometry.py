"""Quads, homographies, crops."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agent.vision.geometry import (
    choose_fineness,
    compute_homographies,
    cut_crops,
    cut_upright,
    map_crop,
    measure_sides,
)

UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
SIZE = (128, 48)
NO_MARGIN = (0.0, 0.0)


def plate_quad(x: float, y: float, width: float, height: float) -> np.ndarray:
    return UNIT * np.array([width, height], np.float32) + np.array([x, y], np.float32)


@st.composite
def convex_quads(draw: st.DrawFn) -> np.ndarray:
    """Plates as a camera sees them: a rectangle whose corners are off by up to a sixth or so."""
    width, height = draw(st.floats(20, 400)), draw(st.floats(8, 200))
    place = (draw(st.floats(-50, 1000)), draw(st.floats(-50, 600)))
    shift = draw(arrays.arrays(np.float32, (4, 2), elements=st.floats(-0.1875, 0.1875, width=32)))
    return plate_quad(*place, width, height) + shift * np.float32(min(width, height))


quad_lists = st.lists(convex_quads(), min_size=1, max_size=5).map(np.stack)


@given(quad_lists)
def test_homographies_carry_the_unit_square_to_the_corners(quads):
    maps = compute_homographies(quads).astype(np.float64)
    square = np.concatenate([UNIT, np.ones((4, 1))], axis=1)
    points = np.einsum("nij,kj->nki", maps, square)
    np.testing.assert_allclose(points[..., :2] / points[..., 2:], quads, atol=0.05)


@given(convex_quads())
def test_homographies_equal_those_of_opencv(quad):
    expected = cv2.getPerspectiveTransform(UNIT, quad)
    found = compute_homographies(quad[None])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=0.05)


@given(convex_quads())
def test_the_inverse_leads_back_to_the_unit_square(quad):
    back = np.linalg.inv(compute_homographies(quad[None])[0].astype(np.float64))
    points = np.concatenate([quad, np.ones((4, 1))], axis=1) @ back.T
    np.testing.assert_allclose(points[:, :2] / points[:, 2:], UNIT, atol=1e-2)


@given(convex_quads(), st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)))
def test_the_corners_of_a_crop_without_its_margin_are_those_of_its_quad(quad, margin):
    found = map_crop(quad, size_px=SIZE, margin=margin)
    edges = np.array(margin)
    inner = (UNIT + edges) / (1 + 2 * edges)
    points = np.concatenate([inner * SIZE - 0.5, np.ones((4, 1))], axis=1) @ found.T
    np.testing.assert_allclose(points[:, :2] / points[:, 2:] + 0.5, quad, atol=0.05, rtol=1e-4)


def test_the_map_of_the_whole_plane_is_every_pixel_itself():
    found = map_crop(plate_quad(0, 0, *SIZE), size_px=SIZE, margin=NO_MARGIN)
    np.testing.assert_allclose(found, np.eye(3), atol=1e-3)


@given(convex_quads(), st.floats(0, 0.2))
def test_a_crop_is_what_a_sampling_grid_over_the_quad_gives(quad, margin):
    plane = cv2.GaussianBlur(
        np.random.default_rng(3).integers(0, 256, (720, 1280), np.uint8), (0, 0), 3
    )
    size = (64, 24)
    (crop,) = cut_crops(plane, quad[None], size_px=size, margin=(margin, margin))
    if choose_fineness(quad[None], size_px=size)[0] > 1:
        return
    u, v = ((np.arange(length) + 0.5) / length * (1 + 2 * margin) - margin for length in size)
    grid = np.stack([*np.meshgrid(u, v), np.ones((24, 64))], axis=-1)
    found = grid @ compute_homographies(quad[None])[0].astype(np.float64).T
    at = (found[..., :2] / found[..., 2:] - 0.5).astype(np.float32)
    expected = cv2.remap(plane, at, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(crop.astype(int) - expected).max() <= 2


def test_a_crop_of_the_whole_plane_is_the_plane():
    plane = np.random.default_rng(1).integers(0, 256, (48, 128), np.uint8)
    crop = cut_crops(plane, plate_quad(0, 0, *SIZE)[None], size_px=SIZE, margin=NO_MARGIN)
    np.testing.assert_array_equal(crop[0], plane)


def test_a_margin_shows_that_share_of_the_plate_beyond_each_edge():
    plane = np.zeros((200, 300), np.uint8)
    plane[60:100, 100:200] = 255
    crop = cut_crops(
        plane, plate_quad(100, 60, 100, 40)[None], size_px=(140, 80), margin=(0.2, 0.5)
    )[0]
    assert crop[40, :19].max() == 0
    assert crop[40, 21:119].min() == 255
    assert crop[:19, 70].max() == 0
    assert crop[21:59, 70].min() == 255


def test_a_large_plate_is_averaged_so_that_a_fine_pattern_turns_grey():
    plane = np.zeros((192, 512), np.uint8)
    plane[:, ::2] = 255
    crop = cut_crops(plane, plate_quad(0, 0, 512, 192)[None], size_px=SIZE, margin=NO_MARGIN)
    assert np.abs(crop.astype(int) - 128).max() <= 32


def test_crops_of_mixed_sizes_come_back_in_the_order_of_their_quads():
    rng = np.random.default_rng(2)
    plane = rng.integers(0, 256, (720, 1280), np.uint8)
    quads = np.stack([plate_quad(10, 10, width, width / 3) for width in (60, 500, 90, 1000, 70)])
    together = cut_crops(plane, quads, size_px=SIZE, margin=(0.05, 0.08))
    for row, quad in enumerate(quads):
        alone = cut_crops(plane, quad[None], size_px=SIZE, margin=(0.05, 0.08))[0]
        np.testing.assert_array_equal(together[row], alone)


@given(quad_lists)
def test_cutting_leaves_plane_and_quads_as_they_were(quads):
    plane = np.full((100, 200), 7, np.uint8)
    before = quads.copy()
    crops = cut_crops(plane, quads, size_px=SIZE, margin=(0.1, 0.1))
    assert crops.shape == (len(quads), 48, 128)
    assert (crops == 7).all()
    np.testing.assert_array_equal(quads, before)
    assert (plane == 7).all()


def test_no_quads_give_no_crops():
    crops = cut_crops(
        np.zeros((9, 9), np.uint8), np.zeros((0, 4, 2), np.float32), size_px=SIZE, margin=NO_MARGIN
    )
    assert crops.shape == (0, 48, 128)


@pytest.mark.parametrize(
    ("width", "factor"), [(20, 1), (255, 1), (260, 2), (510, 2), (520, 4), (3000, 4)]
)
def test_the_sampling_gets_finer_with_the_plate(width, factor):
    assert choose_fineness(plate_quad(0, 0, width, 20)[None], size_px=SIZE).tolist() == [factor]


def test_sides_are_the_mean_width_and_height():
    assert measure_sides(plate_quad(3, 4, 30, 10)[None]).tolist() == [[30, 10]]


@pytest.mark.parametrize("width", [20, 100, 900])
def test_one_plate_is_cut_in_its_own_proportions_up_to_a_limit(width):
    plane = np.full((720, 1280), 90, np.uint8)
    shown = cut_upright(plane, plate_quad(50, 50, width, width / 2), width_px=192, margin=(0, 0))
    assert shown.shape == (min(width, 192) // 2, min(width, 192))
    assert (shown == 90).all()

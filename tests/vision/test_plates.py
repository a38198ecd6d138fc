"""Which quads are plates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.plates import bound_quad, is_convex, list_plates, measure_box, measure_overlap
from tests.vision.test_geometry import convex_quads, plate_quad, quad_lists

edges = st.floats(0, 500, width=32)
boxes = st.tuples(edges, edges, edges, edges).map(
    lambda raw: (*np.minimum(raw[:2], raw[2:]).tolist(), *np.maximum(raw[:2], raw[2:]).tolist())
)


@given(convex_quads())
def test_a_plate_is_convex_and_its_mirror_image_is_not(quad):
    assert is_convex(quad.tolist(), least_px2=1.0)
    assert not is_convex(quad[::-1].tolist(), least_px2=1.0)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param([[0, 0], [10, 10], [10, 0], [0, 10]], id="crossed"),
        pytest.param([[0, 0], [10, 0], [2, 2], [0, 10]], id="dented"),
        pytest.param([[0, 0], [10, 0], [20, 0], [30, 0]], id="flat"),
        pytest.param([[5, 5]] * 4, id="a point"),
        pytest.param([[0, 0], [10, 0], [10, np.nan], [0, 10]], id="no number"),
        pytest.param([[0, 0], [np.inf, 0], [np.inf, 10], [0, 10]], id="no end"),
        pytest.param([[0, 0], [1e300, 0], [1e300, 1e300], [0, 1e300]], id="beyond all numbers"),
    ],
)
def test_what_is_no_plate_is_not_convex(spoilt):
    assert not is_convex(spoilt, least_px2=1.0)


def test_a_triangle_below_the_limit_is_no_plate():
    quad = plate_quad(0, 0, 10, 4).tolist()  # triangles of 20 square pixels
    assert is_convex(quad, least_px2=20.0)
    assert not is_convex(quad, least_px2=20.1)


@given(boxes, boxes)
def test_overlap_is_a_share_and_the_same_both_ways(one, other):
    share = measure_overlap(one, other)
    assert 0 <= share <= 1.001
    assert share == measure_overlap(other, one)


def test_a_box_within_another_overlaps_wholly():
    assert measure_overlap((0, 0, 100, 50), (10, 10, 20, 20)) == 1.0
    assert measure_box((10, 10, 20, 30)) == 200


def choose(quads, **changed):
    return list_plates(quads, **{"least_px2": 4.0, "limit": 0.5, "most": 16} | changed)


def test_of_two_quads_on_one_plate_the_first_stays():
    quads = np.stack(
        [plate_quad(100, 100, 90, 30), plate_quad(300, 100, 90, 30), plate_quad(104, 101, 90, 30)]
    )
    assert choose(quads) == [0, 1]
    assert choose(quads[::-1]) == [0, 1]
    assert choose(quads, limit=1.0) == [0, 1, 2]
    assert choose(quads, most=1) == [0]


def test_a_crooked_quad_takes_no_place():
    quads = np.stack([plate_quad(100, 100, 90, 30)[::-1], plate_quad(102, 100, 90, 30)])
    assert choose(quads) == [1]
    assert choose(quads[:0]) == []


@given(quad_lists)
def test_what_is_chosen_is_what_the_definition_says(quads):
    found = choose(quads)
    around = [bound_quad(quad) for quad in quads.tolist()]
    assert found[0] == 0
    assert found == [
        row
        for row in range(len(quads))
        if all(measure_overlap(around[row], around[before]) <= 0.5 for before in range(row))
    ]

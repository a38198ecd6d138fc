"""Following plates over frames."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.records import Detections, Direction, Frame
from agent.base.settings import TrackSettings
from agent.track import (
    CHECK_FRAMES,
    PATIENCE_FRAMES,
    SMALLEST_WIDTH_PX,
    Tracker,
    judge_direction,
)
from models.synth.space import Camera
from tests.fakes import NOON

UNIT = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)
FRAME_S = 1 / 30
PICTURE = np.zeros((720, 1280), np.uint8)


def plate(x: float, y: float, width: float = 80.0) -> np.ndarray:
    return UNIT * np.array([width, width / 3], np.float32) + np.array([x, y], np.float32)


def frame(index: int) -> Frame:
    at = NOON + timedelta(seconds=index * FRAME_S)
    return Frame(index=index, captured_at=at, sensor_ns=0, y=PICTURE, lores=PICTURE)


def seen(*plates: np.ndarray) -> Detections:
    corners = np.stack(plates) if plates else np.zeros((0, 4, 2), np.float32)
    return Detections(scores=np.ones(len(corners), np.float32), corners=corners)


def follow(frames, **settings):
    """Return the track ids of each frame and all passages, the unfinished ones included."""
    tracker = Tracker(TrackSettings(**settings))
    ids, passages = [], []
    for index, plates in enumerate(frames):
        step = tracker.follow(seen(*plates), frame(index))
        ids.append(step.track_ids.tolist())
        passages.extend(step.ended)
    return ids, (*passages, *tracker.finish())


def test_a_plate_that_moves_evenly_stays_one_track():
    ids, passages = follow([[plate(100 + 60 * n, 300)] for n in range(15)])
    assert ids == [[0]] * 15
    assert len(passages) == 1


def test_a_passage_tells_when_the_plate_was_seen():
    _, (passage,) = follow([[], [], *([plate(100 + 9 * n, 300)] for n in range(5)), []])
    assert (passage.first_frame, passage.last_frame, passage.frames_seen) == (2, 6, 5)
    seconds = (passage.last_seen - passage.first_seen).total_seconds()
    assert seconds == pytest.approx(4 * FRAME_S, abs=0.002)


def test_plates_side_by_side_keep_their_tracks_whatever_their_order_in_the_list():
    lanes = [200.0, 500.0, 800.0, 1100.0]
    rng = np.random.default_rng(1)
    tracker = Tracker(TrackSettings())
    first = None
    for index in range(20):
        order = rng.permutation(4)
        plates = [plate(lanes[lane], 100 + 25 * index) for lane in order]
        step = tracker.follow(seen(*plates), frame(index))
        by_lane = dict(zip(order.tolist(), step.track_ids.tolist(), strict=True))
        first = first or by_lane
        assert by_lane == first


def test_oncoming_plates_that_pass_each_other_do_not_swap():
    frames = [[plate(100 + 40 * n, 300), plate(1000 - 40 * n, 330)] for n in range(20)]
    ids, passages = follow(frames)
    assert ids == [[0, 1]] * 20
    assert len(passages) == 2


def test_a_plate_that_is_hidden_for_a_while_is_the_same_track():
    frames = [[] if 5 <= n < 12 else [plate(100 + 20 * n, 300)] for n in range(20)]
    assert len(follow(frames, max_gap_frames=10)[1]) == 1


def test_a_plate_that_is_hidden_for_too_long_begins_a_new_passage():
    frames = [[] if 5 <= n < 12 else [plate(100 + 20 * n, 300)] for n in range(20)]
    assert len(follow(frames, max_gap_frames=4)[1]) == 2


def test_the_next_vehicle_at_the_other_end_of_the_picture_is_not_the_last_one():
    going = [[plate(600, 300 + 40 * n)] for n in range(9)]
    _, passages = follow([*going, *going])
    assert len(passages) == 2


def test_a_plate_of_another_size_is_another_plate():
    ids, _ = follow([[plate(600, 300, 60)], [plate(600, 300, 60)], [plate(602, 301, 160)]])
    assert ids == [[0], [0], [1]]


def test_one_sighting_is_no_passage():
    assert follow([[plate(600, 300)], [], []], min_frames=2)[1] == ()


def test_a_passage_ends_when_its_gap_is_over_and_only_once():
    tracker = Tracker(TrackSettings(max_gap_frames=3))
    ended = []
    for index in range(12):
        plates = [plate(600, 300)] if index < 4 else []
        step = tracker.follow(seen(*plates), frame(index))
        ended.extend((index, passage.last_frame) for passage in step.ended)
    assert ended == [(7, 3)]
    assert tracker.finish() == ()


@given(
    st.lists(
        st.lists(st.tuples(st.integers(50, 1200), st.integers(50, 650)), max_size=5), max_size=12
    )
)
def test_each_detection_has_its_own_track_and_every_sighting_is_counted_once(frames):
    plates = [[plate(x, y) for x, y in places] for places in frames]
    ids, passages = follow(plates, min_frames=1, max_gap_frames=2)
    assert all(len(set(row)) == len(row) for row in ids)
    assert sum(passage.frames_seen for passage in passages) == sum(map(len, frames))
    assert {passage.track_id for passage in passages} == {number for row in ids for number in row}


HERE = plate(600, 300)


def wanted_over(frames: int, *, certain=frozenset(), calm=frozenset(), where=HERE, **settings):
    """Return the frames in which the crop of one plate was wanted."""
    tracker = Tracker(TrackSettings(**settings))
    steps = (
        tracker.follow(
            seen(where), frame(index), certain=certain if index else frozenset(), calm=calm
        )
        for index in range(frames)
    )
    return [index for index, step in enumerate(steps) if len(step.wanted)]


def test_the_first_crops_are_read_one_after_the_other_then_ever_fewer():
    assert wanted_over(16) == [0, 1, 2, 3, 4, 6, 8, 10, 12, 14]


def test_no_more_crops_are_read_than_the_settings_allow():
    assert len(wanted_over(60, max_reads=3)) == 3


def test_a_certain_track_is_only_checked_now_and_then():
    assert wanted_over(40, certain=frozenset({0})) == [0, CHECK_FRAMES, 2 * CHECK_FRAMES]


def test_a_certain_track_is_checked_when_it_was_out_of_sight():
    tracker = Tracker(TrackSettings())
    for index in (0, 1, 2):
        tracker.follow(seen(plate(600, 300)), frame(index))
    certain = frozenset({0})
    assert len(tracker.follow(seen(plate(600, 300)), frame(3), certain=certain).wanted) == 0
    tracker.follow(seen(), frame(4), certain=certain)
    assert len(tracker.follow(seen(plate(600, 300)), frame(5), certain=certain).wanted) == 1


def test_frames_that_were_passed_over_are_no_time_out_of_sight():
    tracker, certain = Tracker(TrackSettings()), frozenset({0})
    steps = [tracker.follow(seen(HERE), frame(index), certain=certain) for index in range(0, 12, 2)]
    assert sum(len(step.wanted) for step in steps) == 0
    tracker.follow(seen(), frame(12), certain=certain)
    assert len(tracker.follow(seen(HERE), frame(14), certain=certain).wanted) == 1


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(plate(39, 300), id="left edge"),
        pytest.param(plate(1242, 300), id="right edge"),
        pytest.param(plate(600, 14), id="upper edge"),
        pytest.param(plate(600, 709), id="lower edge"),
        pytest.param(plate(600, 300, SMALLEST_WIDTH_PX - 1), id="too small"),
    ],
)
def test_crops_that_are_cut_or_tiny_are_not_worth_reading(where):
    assert wanted_over(5, where=where) == []


def test_a_swapped_track_ends_and_goes_on_under_a_new_number():
    tracker = Tracker(TrackSettings())
    for index in range(4):
        tracker.follow(seen(plate(600, 300)), frame(index))
    step = tracker.follow(seen(plate(600, 300)), frame(4), swapped=frozenset({0}))
    assert [passage.track_id for passage in step.ended] == [0]
    assert step.track_ids.tolist() == [1]
    assert step.wanted.tolist() == [0]
    (rest,) = tracker.finish()
    assert (rest.track_id, rest.first_frame, rest.frames_seen) == (1, 3, 2)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (plate(600, 100, 50), plate(600, 500, 90), Direction.TOWARD),
        (plate(600, 500, 90), plate(600, 100, 50), Direction.AWAY),
        (plate(100, 300), plate(900, 310), Direction.RIGHT),
        (plate(900, 300), plate(100, 310), Direction.LEFT),
        (plate(600, 300), plate(610, 305), Direction.STILL),
        (plate(600, 100), plate(600, 500), Direction.TOWARD),
        (plate(600, 500), plate(600, 100), Direction.AWAY),
    ],
)
def test_direction_is_judged_by_size_first_then_by_place(first, last, expected):
    assert judge_direction(first, last) is expected


def test_detections_are_left_as_they_were():
    tracker = Tracker(TrackSettings())
    detections = seen(plate(600, 300), plate(200, 300))
    before = detections.corners.copy()
    for index in range(3):
        tracker.follow(detections, frame(index))
    np.testing.assert_array_equal(detections.corners, before)


POLE = Camera(
    x_m=0.0, height_m=6.0, yaw_rad=0.0, pitch_rad=0.31, roll_rad=0.01,
    focal_px=3000.0, width_px=1280, height_px=720,
)  # fmt: skip
US_PLATE_M = np.array(
    [[-0.15, 0, 0.08], [0.15, 0, 0.08], [0.15, 0, -0.08], [-0.15, 0, -0.08]], np.float64
)


def plan_traffic(rng: np.random.Generator, *, seconds: float) -> list[tuple[float, float, float]]:
    """Return vehicles of three lanes: lane in m, speed in m/s (negative: coming), start in s."""
    vehicles = []
    for lane, sign in ((-2.75, -1), (0.0, 1), (2.75, 1)):
        start = rng.uniform(0, 1)
        while start < seconds:
            vehicles.append((lane, sign * rng.uniform(12, 16), start))
            start += rng.uniform(1.3, 1.8)
    return vehicles


def test_on_a_busy_road_with_missed_plates_no_two_vehicles_share_a_track():
    rng = np.random.default_rng(11)
    vehicles = plan_traffic(rng, seconds=12)
    tracker = Tracker(TrackSettings())
    tracks_of: dict[int, set[int]] = {}
    for index in range(round(15 / FRAME_S)):
        plates, numbers = [], []
        for number, (lane, speed, start) in enumerate(vehicles):
            way = (index * FRAME_S - start) * speed + (34 if speed < 0 else 12)
            quad = (
                POLE.project(US_PLATE_M + np.array([lane, way, 0.8]))
                if 11 < way < 35
                else np.zeros((4, 2))
            )
            inside = (quad > 0).all() and (quad < [1280, 720]).all()
            if inside and rng.random() > 0.1:
                width = quad[1, 0] - quad[0, 0]
                plates.append((quad + rng.normal(0, 0.02 * width, (4, 2))).astype(np.float32))
                numbers.append(number)
        step = tracker.follow(seen(*plates), frame(index))
        for number, track in zip(numbers, step.track_ids.tolist(), strict=True):
            tracks_of.setdefault(number, set()).add(track)
    tracks = [track for found in tracks_of.values() for track in found]
    assert len(tracks_of) == len(vehicles) > 20
    assert len(tracks) == len(set(tracks))
    assert len(tracks) <= len(vehicles) + 1


def blurred(y, share):
    """Return a picture of less contrast from pixel to pixel."""
    return (128 + (y.astype(np.float32) - 128) * share).astype(np.uint8)


def wanted_of(pictures, corners, **changed):
    """Return the numbers of the frames in which the one plate's crop is wanted."""
    tracker, wanted = Tracker(TrackSettings(**changed)), []
    for index, y in enumerate(pictures):
        frame = Frame(index=index, captured_at=NOON, sensor_ns=0, y=y, lores=y)
        found = Detections(scores=np.ones(1, np.float32), corners=corners[None])
        wanted += [index] if len(tracker.follow(found, frame).wanted) else []
    return wanted


STRIPES = np.tile(np.array([40, 40, 210, 210], np.uint8), (480, 160))
SPOT = np.array([[100, 100], [180, 100], [180, 140], [100, 140]], np.float32)


def test_after_the_first_looks_a_blurred_crop_is_put_off_but_not_for_long():
    pictures = [*[STRIPES] * 3, *[blurred(STRIPES, 0.3)] * 14]
    assert wanted_of(pictures, SPOT, choose_crops=False)[:6] == [0, 1, 2, 3, 4, 6]
    assert wanted_of(pictures, SPOT)[:6] == [0, 1, 2, 3, 4, 6 + PATIENCE_FRAMES]


def test_a_sharper_crop_is_read_at_once():
    pictures = [blurred(STRIPES, 0.3)] * 5 + [STRIPES] * 2
    assert wanted_of(pictures, SPOT) == [0, 1, 2, 3, 4, 6]


def test_after_a_sure_look_a_frame_is_left_out_but_never_the_first_look():
    assert wanted_over(6, calm=frozenset({0})) == [0, 2, 4]
    assert wanted_over(6, calm=frozenset({1})) == [0, 1, 2, 3, 4]


def test_certain_tracks_are_read_again_only_to_compare():
    def count(**changed):
        tracker, reads = Tracker(TrackSettings(**changed)), 0
        found = Detections(scores=np.ones(1, np.float32), corners=SPOT[None])
        for index in range(10):
            frame = Frame(index=index, captured_at=NOON, sensor_ns=0, y=STRIPES, lores=STRIPES)
            reads += len(tracker.follow(found, frame, certain=frozenset({0})).wanted)
        return reads

    assert count() == 0
    assert count(reread_certain=True) > 4

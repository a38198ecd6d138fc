"""Plates of a frame, from what the detector says."""

import numpy as np
import pytest

from agent.base.records import Detections, Frame
from agent.base.settings import DetectSettings
from agent.detect import MOVING_FRAMES, QUIET_LOOKS, Detector, Pace, Stillness, detect_plates
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


NOTHING = Detections(scores=np.zeros(0, np.float32), corners=np.zeros((0, 4, 2), np.float32))
FRAME_NS = 33_333_333


def drive_by(step_px, *, frames, width_px=60):
    """Return low-resolution pictures of something that moves so far from each to the next."""
    for number in range(frames):
        lores = np.full((360, 640), 90, np.uint8)
        x = int(40 + number * step_px)
        lores[150:180, x : x + width_px] = 130
        yield Frame(
            index=number, captured_at=NOON, sensor_ns=number * FRAME_NS, y=lores, lores=lores
        )


def count_looks(frames, *, found=NOTHING, **changed):
    """Return the numbers of the frames in which plates were looked for."""
    stillness, looked = Stillness(DetectSettings(**changed)), []
    for frame in frames:
        if stillness.recall(frame) is None:
            looked.append(frame.index)
            stillness.remember(found)
    return looked


def test_while_nothing_moves_a_look_is_taken_now_and_then():
    looks = count_looks(drive_by(0, frames=90))
    assert looks[0] == 0
    assert np.diff(looks).max() * FRAME_NS <= 0.5e9 + FRAME_NS
    assert len(looks) <= 7


@pytest.mark.parametrize("step_px", [0.05, 0.2, 1, 3, 20])
def test_what_moves_however_slowly_is_looked_at_before_it_is_four_pixels_on(step_px):
    frames = list(drive_by(step_px, frames=25))
    looks = [0, *count_looks(frames, longest_still_s=5), len(frames) - 1]
    moved_px = np.diff([int(index * step_px) for index in looks])
    assert moved_px.max() <= max(4, step_px)


def test_the_plates_of_the_last_look_are_recalled_until_something_moves():
    stillness = Stillness(DetectSettings())
    first, *_, last = drive_by(10, frames=5)
    assert stillness.recall(first) is None
    found = detect(Answers([0.9], [PLATE]))
    stillness.remember(found)
    same = Frame(index=1, captured_at=NOON, sensor_ns=FRAME_NS, y=first.y, lores=first.lores)
    assert stillness.recall(same) is found
    assert stillness.recall(last) is None


def test_while_something_moves_every_frame_is_looked_at_and_soon_after_none():
    moving = list(drive_by(10, frames=20))
    last = moving[-1]
    still = [
        Frame(index=n, captured_at=NOON, sensor_ns=n * FRAME_NS, y=last.y, lores=last.lores)
        for n in range(20, 50)
    ]
    plates = detect(Answers([0.9], [PLATE]))
    looks = count_looks(moving + still, found=plates, longest_still_s=5)
    assert looks[:20] == list(range(20))
    assert looks[-1] < 20 + 3 * MOVING_FRAMES
    assert count_looks(moving + still, longest_still_s=5) == list(range(20))


def test_a_look_that_failed_is_taken_again():
    stillness = Stillness(DetectSettings())
    frames = list(drive_by(0, frames=2))
    assert [stillness.recall(frame) for frame in frames] == [None, None]


def test_a_sensor_clock_that_runs_back_makes_it_look():
    frames = list(drive_by(0, frames=2))
    assert count_looks(frames[::-1]) == [1, 0]


def count_paced(quiet, *, step_ns=FRAME_NS, **changed):
    """Return the numbers of the frames looked at; `quiet` holds what each look would leave."""
    pace, looked = Pace(DetectSettings(**changed)), []
    for index, calm in enumerate(quiet):
        shown = Frame(
            index=index, captured_at=NOON, sensor_ns=index * step_ns, y=PICTURE, lores=PICTURE
        )
        if not pace.passes(shown):
            looked.append(index)
            pace.note(shown, quiet=calm)
    return looked


PICTURE = np.zeros((4, 4), np.uint8)


def test_of_a_road_with_nothing_left_to_read_every_second_frame_is_passed_over():
    looked = count_paced([True] * 20)
    assert looked[:QUIET_LOOKS] == list(range(QUIET_LOOKS))
    assert set(np.diff(looked[QUIET_LOOKS - 1 :])) == {2}


def test_once_there_is_something_to_read_every_frame_is_looked_at():
    quiet = [True] * 9 + [False] * 12
    looked = count_paced(quiet)
    first = next(index for index in looked if not quiet[index])
    assert first <= 10  # one frame late at most
    assert looked[looked.index(first) :] == list(range(first, len(quiet)))


@pytest.mark.parametrize(
    ("step_ns", "changed"),
    [
        pytest.param(66_666_667, {}, id="15 frames a second"),
        pytest.param(FRAME_NS, {"quiet_interval_s": 0.0}, id="switched off"),
        pytest.param(-FRAME_NS, {}, id="a clock that runs back"),
    ],
)
def test_no_frame_is_passed_over(step_ns, changed):
    assert count_paced([True] * 9, step_ns=step_ns, **changed) == list(range(9))

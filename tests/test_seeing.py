"""The seeing half of the road, from a camera with one buffer to the gate, with the real models."""

import numpy as np
import pytest

from agent.base.clock import to_ms
from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.base.records import Direction
from agent.base.settings import DetectSettings, ModelSettings, ReadSettings, TrackSettings
from agent.cli.models import open_models
from agent.detect import detect_plates
from agent.gate import GateRules, admit, parse_hotlist
from agent.read import Ballots, read_crops
from agent.track import Tracker
from tests.fakes import FakeCamera, FakeClock
from tests.plates import make_corners, show_plates

ONE, TWO, THREE = "7KXR482", "3CEH915", "8TNP036"


@pytest.fixture(scope="module")
def models():
    return open_models(ModelSettings(), DetectSettings())


def watch(camera, models):
    """Carry all frames of `camera` along the road; return the reads of the vehicles."""
    tracker = Tracker(TrackSettings())
    ballots = Ballots(ReadSettings(), alphabet=models.reader.alphabet, keep_crops=True)
    reads = []
    with camera:
        for frame in camera.frames():
            found = detect_plates(frame, models.detector)
            step = tracker.follow(found, frame, certain=ballots.certain, swapped=ballots.swapped)
            corners = found.corners[step.wanted]
            slots = read_crops(frame.y, corners, models.reader, turn=frame.index)
            ballots.count(
                frame, track_ids=step.track_ids[step.wanted], corners=corners, slots=slots
            )
            now_ms = to_ms(frame.captured_at)
            reads += ballots.close(step.ended, alive=step.tracks["id"], now_ms=now_ms)
    return [*reads, *ballots.finish(tracker.finish())]


def drive(*vehicles, frames):
    """Return pictures of vehicles (text, first frame, x) that come down the picture."""
    pictures = []
    for number in range(frames):
        plates = {}
        for text, first, x in vehicles:
            y, width = 30 + 24 * (number - first), 100 + 3 * (number - first)
            if number >= first and y + width / 2 < 480:
                plates[text] = make_corners(x, y, width, width / 2)
        pictures.append(show_plates(plates, width=640, height=480))
    return pictures


def test_vehicles_side_by_side_and_one_after_the_other_each_become_one_read(models):
    pictures = drive((ONE, 0, 60), (TWO, 4, 380), (THREE, 20, 60), frames=44)
    reads = watch(FakeCamera(pictures, clock=FakeClock()), models)
    assert sorted(read.text.characters for read in reads) == sorted([ONE, TWO, THREE])
    assert not any(read.abstained for read in reads)
    assert {read.direction for read in reads} == {Direction.TOWARD}
    first = next(read for read in reads if read.text.characters == ONE)
    assert first.first_frame <= 2
    assert 10 <= first.last_frame <= 19
    assert 500 < len(first.crop_jpeg) < 6000


def test_broken_frames_do_not_split_a_passage(models):
    pictures = drive((ONE, 0, 60), frames=18)
    camera = FakeCamera(pictures, clock=FakeClock(), broken=frozenset({6, 7}))
    (read,) = watch(camera, models)
    assert read.text.characters == ONE
    assert camera.broken_frames == 2


def test_an_empty_road_gives_nothing(models):
    pictures = [np.full((480, 640), 120, np.uint8)] * 5
    assert watch(FakeCamera(pictures, clock=FakeClock()), models) == []


def test_a_camera_that_falls_silent_says_so(models):
    camera = FakeCamera(drive(frames=2), clock=FakeClock(), falls_silent=True)
    with pytest.raises(DeviceError, match="no frame"):
        watch(camera, models)


def test_only_the_hit_passes_the_gate_in_the_mode_hits_only(models):
    pictures = drive((ONE, 0, 60), (TWO, 4, 380), frames=30)
    reads = watch(FakeCamera(pictures, clock=FakeClock()), models)
    rules = GateRules(mode="hits-only", min_hit_confidence=0.8, min_hit_frames=2)
    hotlist = parse_hotlist(f"{TWO}\n".encode(), place="list.txt")
    lanes = {read.text.characters: admit(read, rules=rules, hotlist=hotlist) for read in reads}
    assert lanes == {ONE: None, TWO: Lane.HITS}

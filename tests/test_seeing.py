"""The seeing half of the road, from a camera with one buffer to the gate, with the real models."""

import numpy as np
import pytest

from agent.base.clock import to_ms
from agent.base.errors import DeviceError
from agent.base.health import WatchCounters
from agent.base.lanes import Lane
from agent.base.records import Direction
from agent.base.settings import DetectSettings, ModelSettings, ReadSettings, TrackSettings
from agent.cli.models import open_models
from agent.detect import Pace
from agent.gate import GateRules, admit, find_matches
from agent.pipeline.watch import Seeing, finish_passages, see_frame
from agent.read import Ballots
from agent.track import Tracker
from tests.fakes import NOON, FakeCamera, FakeClock
from tests.lists import make_list
from tests.plates import make_corners, show_plates
from tests.seeing import drive, watch

ONE, TWO, THREE = "7KXR482", "3CEH915", "8TNP036"


@pytest.fixture(scope="module")
def models():
    return open_models(ModelSettings(), DetectSettings())


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
    hotlist, now_ms = make_list(TWO), to_ms(NOON)
    lanes = {
        read.text.characters: admit(read, rules=rules, hotlist=hotlist, now_ms=now_ms)[0]
        for read in reads
    }
    assert lanes == {ONE: None, TWO: Lane.HITS}


def first_leads(pictures, models, wanted):
    """Return the frames in which `wanted` is a lead, and that in which its passage is over."""
    seeing = Seeing(
        detector=models.detector,
        tracker=Tracker(TrackSettings()),
        reader=models.reader,
        ballots=Ballots(
            ReadSettings(), alphabet=models.reader.alphabet, keep_crops=True, certain_looks=3
        ),
    )
    rules = GateRules(mode="hits-only", min_hit_confidence=0.8, min_hit_frames=3)
    hotlist, counters, leads, over = make_list(wanted), WatchCounters(), [], None

    def is_lead(read):
        return bool(find_matches(read, rules=rules, hotlist=hotlist, now_ms=to_ms(NOON)))

    with FakeCamera(pictures, clock=FakeClock()) as camera:
        for frame in camera.frames():
            sight = see_frame(frame, seeing, counters, is_lead=is_lead)
            leads += [(frame.index, read) for read in sight.leads]
            if any(read.text.characters == wanted for read in sight.done):
                over = frame.index
    assert counters.failed_frames == 0
    return leads, over


def test_a_hit_is_seen_as_soon_as_enough_frames_agree_long_before_its_passage_is_over(models):
    pictures = drive((ONE, 0, 60), (TWO, 4, 380), frames=30)
    pictures += [np.full((480, 640), 120, np.uint8)] * 60
    leads, over = first_leads(pictures, models, TWO)
    (index, read), *_ = leads
    assert read.text.characters == TWO
    assert len(read.crop_jpeg) > 500
    assert index <= 4 + 6
    assert over > index + 30


def test_a_parked_car_is_a_lead_while_it_stands_there(models):
    pictures = [show_plates({ONE: make_corners(60, 200, 140, 70)}, width=640, height=480)] * 40
    leads, over = first_leads(pictures, models, ONE)
    assert leads[0][0] <= 6
    assert over is None


def test_frames_passed_over_cost_no_vehicle_and_every_frame_is_accounted_for(models):
    empty = [np.full((480, 640), 120, np.uint8)] * 12
    pictures = [*empty, *drive((ONE, 0, 60), (TWO, 9, 380), frames=40), *empty]
    seeing = Seeing(
        detector=models.detector,
        tracker=Tracker(TrackSettings()),
        reader=models.reader,
        ballots=Ballots(ReadSettings(), alphabet=models.reader.alphabet, keep_crops=True),
        pace=Pace(DetectSettings()),
    )
    counters, reads = WatchCounters(), []
    with FakeCamera(pictures, clock=FakeClock()) as camera:
        for frame in camera.frames():
            reads += see_frame(frame, seeing, counters, is_lead=lambda _: False).done
    reads += finish_passages(seeing, counters)
    assert sorted(read.text.characters for read in reads) == sorted([ONE, TWO])
    assert not any(read.abstained for read in reads)
    assert counters.frames_passed > len(empty) // 2
    assert counters.frames_looked + counters.frames_passed == len(pictures)

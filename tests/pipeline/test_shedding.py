"""Which frames are left out, and when that changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.settings import SheddingSettings
from agent.pipeline.shedding import CALM_WINDOWS, HEAT_WINDOWS, STEPS, Shedding

FPS = 30
FRAME_NS = 1_000_000_000 // FPS + 1


class Load:
    """A unit under load: frames come evenly, each costs so much, and so many are dropped."""

    def __init__(self, celsius=None):
        self.celsius, self.now_ns, self.dropped = celsius, 0, 0
        self.shedding = Shedding(SheddingSettings(), read_celsius=lambda: self.celsius)

    def run(self, seconds, *, cost=0.2, drops=0):
        """Return how many of 30 frames are looked at in the last of the seconds."""
        taken = []
        for number in range(seconds * FPS):
            self.dropped += drops if number % FPS == 1 else 0
            takes = self.shedding.takes(self.now_ns, dropped=self.dropped)
            taken.append(takes)
            self.shedding.spend(int(takes * cost * FRAME_NS))
            self.now_ns += FRAME_NS
        return sum(taken[-FPS:])


def test_a_unit_with_time_to_spare_looks_at_every_frame(caplog):
    assert Load(celsius=77.9).run(20) == FPS
    assert caplog.records == []


def test_who_is_behind_looks_at_fewer_frames_until_there_is_time_to_spare(caplog):
    load = Load()
    assert load.run(3, drops=15) < FPS
    assert load.run(2 * CALM_WINDOWS + 3, cost=0.2) == FPS
    events = [record.message for record in caplog.records]
    assert events[-1] == "looking at all frames"
    assert caplog.records[0].reason == "behind"


def test_a_few_frames_that_are_dropped_are_no_reason_to_leave_out_more():
    assert Load().run(20, drops=8) == FPS


def test_each_change_is_told_once(caplog):
    Load().run(60, drops=60)
    assert len(caplog.records) == len(STEPS) - 1


def test_no_step_back_that_would_make_it_late_again():
    load = Load()
    load.run(2, drops=12)
    part, whole = STEPS[1]
    assert load.run(60, cost=0.85) <= FPS * part / whole + 1


def test_a_hot_unit_looks_at_fewer_and_fewer_frames_until_it_is_cool(caplog):
    load = Load(celsius=78.0)
    shares = [load.run(HEAT_WINDOWS + 1) for _ in range(3)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < FPS
    assert caplog.records[0].reason == "hot"
    load.celsius = 75.0  # neither hot nor cool
    assert load.run(3 * HEAT_WINDOWS) == load.run(HEAT_WINDOWS)
    load.celsius = 73.9
    assert load.run(HEAT_WINDOWS * len(STEPS) + 5) == FPS


@pytest.mark.parametrize(("part", "whole"), STEPS)
def test_frames_are_left_out_evenly(part, whole):
    shedding = Shedding(SheddingSettings(), read_celsius=lambda: None)
    shedding._step = STEPS.index((part, whole))
    taken = [shedding.takes(0, dropped=0) for _ in range(20 * whole)]
    gaps = np.diff(np.flatnonzero(taken))
    assert sum(taken) == 20 * part
    assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40), st.floats(20, 120)), max_size=60))
@settings(deadline=None, max_examples=50)
def test_whatever_comes_some_frames_are_looked_at(seconds):
    load = Load()
    for cost, drops, load.celsius in seconds:
        assert load.run(1, cost=cost, drops=drops) >= FPS * STEPS[-1][0] // STEPS[-1][1]

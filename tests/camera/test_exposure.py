"""Exposure for plates: short, never above its ceiling, and calm at dusk."""

from dataclasses import replace
from itertools import pairwise
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.settings import ExposureSettings
from agent.camera.exposure import (
    STEADY_STOPS,
    TARGET,
    Exposure,
    begin_exposure,
    choose_exposure,
    follow_light,
    is_at_ceiling,
    make_ladder,
    measure_light,
)

SENSOR = {"times_us": (9, 66_666), "gains": (1.0, 16.0)}
SENSORS = st.tuples(st.integers(9, 500), st.integers(500, 10**6), st.floats(1, 2), st.floats(2, 64))
SETTINGS = ExposureSettings()
LADDER = make_ladder(SETTINGS, **SENSOR)
DAYLIGHT = TARGET / 100
"""Light of a scene that needs 100 µs at gain 1; half of it needs 200."""


def level(light):
    """Return the level that a surface of `light` (0 to 1, may be more) has in a picture."""
    return round(16 + 219 * min(max(light, 0), 1) ** (1 / 2.2))


def picture(light, exposure, *, lamp=0.0, lamp_share=0.6, headlights=0.0):
    """Return a picture of a scene: an even ground, part of it lit by the unit's own lamp."""
    plane = np.full((100, 80), level(light * exposure.product), np.uint8)
    rows = round(100 * (1 - lamp_share))
    plane[rows:] = level((light + lamp) * exposure.product)
    plane[: round(100 * headlights)] = 255
    return plane


def run(lights, *, settings=SETTINGS, seconds=2.0, **scene):
    """Return the states over time, one look each `seconds`."""
    ladder = make_ladder(settings, **SENSOR)
    state, states = begin_exposure(ladder, settings), []
    for number, light in enumerate(lights):
        seen = {name: value(number) if callable(value) else value for name, value in scene.items()}
        plane = picture(light, choose_exposure(state, ladder), **seen)
        state = follow_light(state, measure_light(plane), ladder, settings, at_s=number * seconds)
        states.append(state)
    return states


def switches(states):
    return sum(one.is_night != other.is_night for one, other in pairwise(states))


@given(
    longest=st.integers(20, 33_000),
    gain=st.floats(1, 64),
    night=st.integers(20, 33_000),
    sensor=SENSORS,
)
def test_no_rung_is_above_the_ceiling_of_settings_or_sensor(longest, gain, night, sensor):
    settings = ExposureSettings(longest_us=longest, max_gain=gain, night_us=night)
    times, gains = sensor[:2], sensor[2:]
    ladder = make_ladder(settings, times_us=times, gains=gains)
    for rung in (*ladder.day, ladder.night):
        assert 1 <= rung.time_us <= min(longest, times[1])
        assert gains[0] <= rung.gain <= max(gains[0], gains[1])
    assert all(rung.gain <= max(gain, gains[0]) + 0.001 for rung in ladder.day)
    products = [rung.product for rung in ladder.day]
    assert products == sorted(products)
    steps = [log2(two / one) for one, two in pairwise(products)]
    assert all(step <= 0.65 for step in steps)  # short times are whole microseconds


def test_exposure_comes_before_gain():
    gains = [rung.gain for rung in LADDER.day]
    assert gains == sorted(gains)
    assert all(rung.time_us == 1000 for rung in LADDER.day if rung.gain > 1)


@given(st.floats(-2.5, 6.5))
def test_any_daylight_comes_within_a_rung_of_the_target_and_stays(stops):
    light = DAYLIGHT * 2**-stops
    states = run([light] * 40)
    exposure = choose_exposure(states[-1], LADDER)
    assert abs(log2(light * exposure.product / TARGET)) < STEADY_STOPS + 0.1
    assert len({state.rung for state in states[20:]}) == 1
    assert not states[-1].is_night


def test_a_white_lorry_or_low_sun_shortens_the_exposure_whatever_the_middle_says():
    calm = run([DAYLIGHT] * 20)[-1]
    glaring = run([DAYLIGHT] * 20, headlights=0.1)[-1]
    assert glaring.rung < calm.rung


def test_where_light_is_short_the_ceiling_is_told():
    dim = DAYLIGHT * 2**-8.5  # a stop and a half too dark at the top of the ladder
    state = run([dim] * 60)[-1]
    plane = picture(dim, choose_exposure(state, LADDER))
    assert choose_exposure(state, LADDER) == Exposure(time_us=1000, gain=16.0)
    assert not state.is_night
    assert is_at_ceiling(state, LADDER, measure_light(plane))
    assert not is_at_ceiling(replace(state, rung=3), LADDER, measure_light(plane))


def dusk(stops_an_hour=24.0, hours=1.0, seconds=2.0, seed=7):
    """Return the light of an evening, with the noise of clouds."""
    noise = np.random.default_rng(seed).normal(0, 0.3, round(hours * 3600 / seconds))
    times = np.arange(len(noise)) * seconds / 3600
    return DAYLIGHT * 2.0 ** -(times * stops_an_hour + noise)


@pytest.mark.parametrize("lamp_stops", [None, 2, 4, 6], ids=str)
@pytest.mark.parametrize("lamp_on_s", [0, 900, 1800])
def test_night_falls_once_whatever_the_lamp_does(lamp_stops, lamp_on_s):
    lamp = 0 if lamp_stops is None else DAYLIGHT * 2.0 ** -(8 - lamp_stops)
    states = run(dusk(), lamp=lambda number: lamp if number * 2 >= lamp_on_s else 0.0)
    assert switches(states) <= 1
    if lamp_stops is None:
        assert states[-1].is_night


def test_a_lamp_that_goes_on_at_night_is_not_the_sun():
    evening = dusk()
    lamp = DAYLIGHT  # as bright as day, on six tenths of the picture
    states = run(evening, lamp=lambda number: lamp if number * 2 > 2700 else 0.0)
    assert states[1300].is_night
    assert switches(states) == 1


def test_a_morning_ends_the_night_once():
    def lamp(number):
        return DAYLIGHT * 2.0**-4 if 2700 < number * 2 < 4500 else 0.0

    states = run([*dusk(), *dusk()[::-1]], lamp=lamp)
    assert [states[1700].is_night, states[-1].is_night] == [True, False]
    assert switches(states) == 2


def test_headlights_of_a_queue_do_not_end_the_night():
    dark = [*dusk(), *([DAYLIGHT * 2.0**-14] * 300)]
    states = run(dark, headlights=lambda number: 0.5 if number % 60 < 25 and number > 1800 else 0)
    assert states[-1].is_night
    assert switches(states) == 1


@pytest.mark.parametrize("mode", ["day", "night"])
def test_what_is_set_by_hand_holds(mode):
    settings = ExposureSettings(mode=mode)
    states = run([*dusk(), *dusk()[::-1]], settings=settings)
    assert {state.is_night for state in states} == {mode == "night"}


@given(st.lists(st.floats(-16, 8), min_size=2, max_size=200))
def test_no_light_leaves_the_ladder_or_switches_within_the_holding_time(stops):
    states = run([DAYLIGHT * 2.0**-stop for stop in stops], seconds=5.0)
    assert all(0 <= state.rung < len(LADDER.day) for state in states)
    changes = [n for n in range(1, len(states)) if states[n].is_night != states[n - 1].is_night]
    assert all(two - one >= 12 for one, two in pairwise(changes))


def test_the_meter_reads_the_middle_and_the_dark_quarter_of_a_picture():
    plane = np.zeros((360, 640), np.uint8)
    plane[120:] = level(0.18)
    plane[350:] = 255
    meter = measure_light(plane)
    assert meter.dark == 0
    assert meter.middle == pytest.approx(0.18, rel=0.05)
    assert 0.01 < meter.white_share < 0.05

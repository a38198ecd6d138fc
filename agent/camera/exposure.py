"""How long the sensor looks and how much it amplifies: for plates, not for pretty pictures.

By day a ladder of half stops: the exposure grows up to its ceiling, then the gain. At night one
fixed pair, because plates throw an infrared lamp's light straight back and the rest of the picture
says nothing about them. Everything here is arithmetic; the camera is told by `agent.camera.pi`.
"""

from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Final

import numpy as np

from agent.base.records import Plane
from agent.base.settings import ExposureSettings

TARGET: Final = 0.18
"""Light of a middling surface, 0 to 1: photography's grey card."""
STEP_STOPS: Final = 0.5
"""Between two rungs."""
STEADY_STOPS: Final = 0.6
"""No step within this of the target: more than half a rung, so that no two rungs alternate."""
FASTEST_RUNGS: Final = 4
"""At once: a lorry in front of the lens must not throw the exposure away."""
GAP_STOPS: Final = 2.0
"""Night begins this much below what the top of the ladder can mend, and ends this much above."""
BLEACHED: Final = 0.05
"""Share of white pixels above which the exposure sinks whatever the middle says; it rises again
only below half of it."""
METER_STEP: Final = 4
"""Every fourth pixel of every fourth row is enough to measure light by."""
_BLACK, _WHITE, _GAMMA = 16, 235, 2.2  # ITU-R BT.709, which picamera2 asks of video
_LEAST_LIGHT: Final = 1e-4
_LEVELS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the sensor is told."""

    time_us: int
    gain: float

    @property
    def product(self) -> float:
        """Return how much light the picture gets of the same scene."""
        return self.time_us * self.gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """How one picture is lit, 0 to 1 in linear light."""

    dark: float
    """What a quarter of the picture does not reach."""
    middle: float
    white_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What the sensor may be told."""

    day: tuple[Exposure, ...]
    """By rising product."""
    night: Exposure


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureState:
    """Where the exposure stands."""

    rung: int
    is_night: bool = False
    since_s: float | None = None
    """Since when it looks as if night should begin, or end."""


def make_ladder(
    settings: ExposureSettings, *, times_us: tuple[int, int], gains: tuple[float, float]
) -> Ladder:
    """Return the rungs between what the sensor can do and what the settings allow.

    Args:
        settings: Of the unit.
        times_us: Shortest and longest exposure of the sensor.
        gains: Its smallest and largest gain.
    """
    shortest, longest = times_us[0], min(settings.longest_us, times_us[1])
    shortest = min(max(shortest, 1), longest)
    least, most = gains[0], max(min(settings.max_gain, gains[1]), gains[0])
    times = [Exposure(time_us=round(time), gain=least) for time in _steps(shortest, longest)]
    amplified = [Exposure(time_us=longest, gain=gain) for gain in _steps(least, most)]
    night = Exposure(
        time_us=max(min(settings.night_us, longest), shortest),
        gain=min(max(settings.night_gain, least), gains[1]),
    )
    return Ladder(day=(*times, *amplified[1:]), night=night)


def _steps(low: float, high: float) -> list[float]:
    """Return values from `low` to `high` in equal ratios of at most `STEP_STOPS`."""
    count = ceil(log2(high / low) / STEP_STOPS - 1e-9) if high > low else 0
    return [low * (high / low) ** (place / count) for place in range(count)] + [high]


def choose_exposure(state: ExposureState, ladder: Ladder) -> Exposure:
    """Return what the sensor is to be told."""
    return ladder.night if state.is_night else ladder.day[state.rung]


def begin_exposure(ladder: Ladder, settings: ExposureSettings) -> ExposureState:
    """Return where to begin: in the middle of the ladder, or at night if night is what is set."""
    return ExposureState(rung=len(ladder.day) // 2, is_night=settings.mode == "night")


def is_at_ceiling(state: ExposureState, ladder: Ladder, meter: Meter) -> bool:
    """Tell whether the day's ladder is at its top and the picture is too dark all the same."""
    at_top = not state.is_night and state.rung == len(ladder.day) - 1
    return at_top and _missing_stops(meter.middle) > STEADY_STOPS


def measure_light(plane: Plane) -> Meter:
    """Return how a picture is lit; takes 20 µs for 640x360."""
    counts = np.bincount(plane[::METER_STEP, ::METER_STEP].ravel(), minlength=_LEVELS)
    shares = np.cumsum(counts) / counts.sum()
    dark, middle = np.searchsorted(shares, (0.25, 0.5)).tolist()
    return Meter(
        dark=_linear(dark), middle=_linear(middle), white_share=float(1 - shares[_WHITE - 1])
    )


def _linear(level: int) -> float:
    share = min(max(level - _BLACK, 0) / (_WHITE - _BLACK), 1.0)
    return float(share**_GAMMA)


def follow_light(
    state: ExposureState,
    meter: Meter,
    ladder: Ladder,
    settings: ExposureSettings,
    *,
    at_s: float,
) -> ExposureState:
    """Return where the exposure stands after one more picture.

    Args:
        state: Before it.
        meter: Of a picture that was taken with what `choose_exposure` says.
        ladder: What the sensor may be told.
        settings: Of the unit.
        at_s: When, on a clock that never runs back.
    """
    if settings.mode != "auto":
        held = replace(state, is_night=settings.mode == "night", since_s=None)
        return held if held.is_night else _climb(held, meter, ladder)
    if not _is_time_to_change(state, meter, ladder):
        calm = replace(state, since_s=None)
        return calm if state.is_night else _climb(calm, meter, ladder)
    since_s = at_s if state.since_s is None else state.since_s
    if at_s - since_s < settings.hold_s:
        return replace(state, since_s=since_s)
    return ExposureState(rung=len(ladder.day) - 1, is_night=not state.is_night)


def _is_time_to_change(state: ExposureState, meter: Meter, ladder: Ladder) -> bool:
    """Tell whether night should begin, or end.

    Night ends when the darkest quarter of the picture would be well lit two stops below the top
    of the day's ladder: four stops above what night began at, and in a part of the picture that
    a lamp beside the camera hardly reaches.
    """
    top = ladder.day[-1].product
    if not state.is_night:
        at_top = state.rung == len(ladder.day) - 1
        return at_top and _missing_stops(meter.middle) > GAP_STOPS
    by_day = meter.dark * top / ladder.night.product
    return -_missing_stops(by_day) > GAP_STOPS or meter.dark >= 1.0


def _climb(state: ExposureState, meter: Meter, ladder: Ladder) -> ExposureState:
    """Go up or down the day's ladder."""
    missing = _missing_stops(meter.middle)
    if meter.white_share > BLEACHED:
        missing = min(missing, -STEP_STOPS)
    elif abs(missing) < STEADY_STOPS or (missing > 0 and meter.white_share > BLEACHED / 2):
        return state
    rungs = max(min(round(missing / STEP_STOPS), FASTEST_RUNGS), -FASTEST_RUNGS)
    return replace(state, rung=max(min(state.rung + rungs, len(ladder.day) - 1), 0))


def _missing_stops(light: float) -> float:
    """Return by how many stops `light` is below the target; negative above it."""
    return log2(TARGET / max(light, _LEAST_LIGHT))

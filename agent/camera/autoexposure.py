"""The exposure of one camera: meters some frames, and says what to tell the sensor."""

from collections.abc import Mapping
from typing import Any, Final, Self

from agent.base.health import CameraState
from agent.base.records import Plane
from agent.base.settings import ExposureSettings
from agent.camera.exposure import (
    Exposure,
    Ladder,
    begin_exposure,
    choose_exposure,
    follow_light,
    is_at_ceiling,
    make_ladder,
    measure_light,
)

METER_EVERY: Final = 6
"""Frames: five times a second is as fast as light changes."""
SETTLED_SHARE: Final = 0.1
"""A sensor rounds to whole rows; within this it does what it was told."""
PATIENCE: Final = 5
"""Looks at the light after which a sensor that never quite does so is believed all the same."""
_NEEDED: Final = ("ExposureTime", "AnalogueGain")


class AutoExposure:
    """Follows the light; the arithmetic is in `agent.camera.exposure`.

    Args:
        ladder: What this sensor may be told.
        settings: Of the unit.
    """

    def __init__(self, ladder: Ladder, settings: ExposureSettings) -> None:
        self._ladder, self._settings = ladder, settings
        self._state = begin_exposure(ladder, settings)
        self._told = choose_exposure(self._state, ladder)
        self._frames = self._unsettled = 0
        self._at_ceiling = False

    @classmethod
    def of(
        cls, controls: Mapping[str, tuple[Any, Any, Any]], settings: ExposureSettings
    ) -> Self | None:
        """Return the exposure of a camera, None where it cannot be told how to expose."""
        if not all(name in controls for name in _NEEDED):
            return None
        times, gains = (controls[name][:2] for name in _NEEDED)
        return cls(make_ladder(settings, times_us=times, gains=gains), settings)

    def begin(self) -> dict[str, Any]:
        """Return the controls to start with."""
        return _controls(self._told)

    def follow(self, metadata: Mapping[str, Any], lores: Plane, *, at_s: float) -> dict[str, Any]:
        """Return the controls to change after one more frame, mostly none.

        Controls take effect some frames later; until the sensor says that it does as it was told,
        pictures say nothing about them.
        """
        self._frames += 1
        if self._frames % METER_EVERY:
            return {}
        if not self._is_settled(metadata) and self._unsettled < PATIENCE:
            self._unsettled += 1
            return {}
        self._unsettled = 0
        meter = measure_light(lores)
        self._state = follow_light(self._state, meter, self._ladder, self._settings, at_s=at_s)
        self._at_ceiling = is_at_ceiling(self._state, self._ladder, meter)
        wanted = choose_exposure(self._state, self._ladder)
        if wanted == self._told:
            return {}
        self._told = wanted
        return _controls(wanted)

    def tell(self, metadata: Mapping[str, Any], state: CameraState) -> None:
        """Say how it is, in what the sensor reports."""
        state.exposure_us = int(metadata.get("ExposureTime", 0))
        state.gain = round(float(metadata.get("AnalogueGain", 0)), 2)
        state.is_night, state.at_ceiling = self._state.is_night, self._at_ceiling

    def _is_settled(self, metadata: Mapping[str, Any]) -> bool:
        time_us = float(metadata.get("ExposureTime", 0))
        gain = float(metadata.get("AnalogueGain", 0))
        return (
            abs(time_us - self._told.time_us) <= SETTLED_SHARE * self._told.time_us
            and abs(gain - self._told.gain) <= SETTLED_SHARE * self._told.gain
        )


def _controls(exposure: Exposure) -> dict[str, Any]:
    """Return the controls for an exposure; libcamera then leaves its own automatic alone."""
    return {"ExposureTime": exposure.time_us, "AnalogueGain": exposure.gain}

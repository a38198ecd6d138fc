"""Leaving out frames when the unit is behind or hot: evenly, in steps, and not back and forth."""

import logging
from collections.abc import Callable
from typing import Final

from agent.base.settings import SheddingSettings

log = logging.getLogger(__name__)

STEPS: Final = ((1, 1), (3, 4), (1, 2), (1, 3), (1, 6))
"""Of so many frames so many are looked at. The last leaves 5 a second: still two looks at a vehicle
that is in view for half a second."""
WINDOW_NS: Final = 1_000_000_000
"""Over which it is judged whether the unit is behind."""
CALM_WINDOWS: Final = 5
"""So many in a row must have had time to spare before more frames are looked at again."""
SPARE_SHARE: Final = 0.8
"""Of the time that looking at more frames may take."""
HEAT_WINDOWS: Final = 10
"""A processor takes that long to answer with another temperature."""


class Shedding:
    """Says which frames are looked at.

    Behind is who looks at no more frames than the next step would leave: the others were dropped
    before they were looked at. So a step costs no frame that would not be lost anyhow; it spreads
    them evenly. Hot is who is at `hot_celsius`, until it falls below `cool_celsius`.
    """

    def __init__(
        self, settings: SheddingSettings, *, read_celsius: Callable[[], float | None]
    ) -> None:
        """Begin with all frames.

        Args:
            settings: What is hot and what is cool.
            read_celsius: Tells the processor's temperature, None where nobody knows.
        """
        self._settings, self._read_celsius = settings, read_celsius
        self._frames = self._busy_ns = 0
        self._seen = self._taken = 0
        """Frames in this window: that were asked about, that are looked at."""
        self._dropped = 0
        """Before this window."""
        self._window_ns: int | None = None
        self._behind_step = self._calm_windows = 0
        self._heat_step = self._heat_windows = 0
        self._step = 0

    def takes(self, now_ns: int, *, dropped: int) -> bool:
        """Tell whether the next frame is looked at.

        Args:
            now_ns: Monotonic time.
            dropped: Frames since the start that a newer one replaced before they were looked at.
        """
        if self._window_ns is None:
            self._window_ns = now_ns
        elif now_ns - self._window_ns >= WINDOW_NS:
            self._judge(now_ns - self._window_ns, dropped)
            self._window_ns, self._dropped = now_ns, dropped
            self._busy_ns = self._seen = self._taken = 0
        part, whole = STEPS[self._step]
        taken = (self._frames + 1) * part // whole > self._frames * part // whole
        self._frames += 1
        self._seen += 1
        self._taken += taken
        return taken

    def spend(self, spent_ns: int) -> None:
        """Take note of the time that looking at a frame took."""
        self._busy_ns += spent_ns

    def _judge(self, window_ns: int, dropped: int) -> None:
        self._behind_step = self._judge_pace(window_ns, dropped)
        self._heat_step = self._judge_heat()
        step = max(self._behind_step, self._heat_step)
        if step != self._step:
            self._step = step
            part, whole = STEPS[step]
            reason = "hot" if self._heat_step > self._behind_step else "behind"
            log.warning(
                "looking at fewer frames" if step else "looking at all frames",
                extra={"detail": f"{part} of {whole}", "reason": reason if step else "recovered"},
            )

    def _judge_pace(self, window_ns: int, dropped: int) -> int:
        """Return the step that keeps pace: one more at once, one less when that is safe."""
        step = self._behind_step
        if dropped > self._dropped:
            self._calm_windows = 0
            part, whole = STEPS[min(step + 1, len(STEPS) - 1)]
            late = self._taken * whole <= part * (self._seen + dropped - self._dropped)
            return min(step + late, len(STEPS) - 1)
        if not step:
            return 0
        part, whole = STEPS[step - 1]
        now_part, now_whole = STEPS[self._step]
        more = part * now_whole / (whole * now_part)
        calm = self._busy_ns * more < SPARE_SHARE * window_ns
        self._calm_windows = self._calm_windows + 1 if calm else 0
        if self._calm_windows < CALM_WINDOWS:
            return step
        self._calm_windows = 0
        return step - 1

    def _judge_heat(self) -> int:
        """Return the step that lets the processor cool; it changes once in `HEAT_WINDOWS`."""
        step, celsius = self._heat_step, self._read_celsius()
        self._heat_windows += 1
        if celsius is None or (step and self._heat_windows < HEAT_WINDOWS):
            return step
        if celsius >= self._settings.hot_celsius:
            self._heat_windows = 0
            return min(step + 1, len(STEPS) - 1)
        if step and celsius < self._settings.cool_celsius:
            self._heat_windows = 0
            return step - 1
        return step

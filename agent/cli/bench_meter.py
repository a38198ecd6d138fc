"""Where the time of a frame goes, and what that would be on a Raspberry Pi."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PUBLISHED_GFLOP = 8.7
"""One image through YOLOv8n at 640x640, the network of ONNX Runtime's published figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A unit's computer, known from published figures only."""

    name: str
    published_s: float
    """Seconds that network takes there: ONNX Runtime, fp32, 4 threads."""
    other_factor: float
    """How much longer any other code takes than on the machine of the bench."""
    cores: int = 4

    @property
    def gflop_per_s(self) -> float:
        """Thousand million operations a second of all cores."""
        return PUBLISHED_GFLOP / self.published_s


BOARDS = (
    Board(name="Pi 5", published_s=0.199, other_factor=2.5),
    Board(name="Pi 4", published_s=0.560, other_factor=5.5),
)
CAMERA_FPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What one board would do with the same frames; projected, not measured."""

    board: str
    core_ms: float
    """CPU time a frame, summed over the cores."""
    share_at_30_fps: float
    """Of all cores; above 1 = it cannot."""
    max_fps: float
    """With all cores busy."""
    reads_per_minute: float
    """At 30 frames a second, or at `max_fps` where that is less."""


@dataclass(slots=True)
class Meter:
    """CPU time by stage; a stage within another counts for itself only."""

    cpu_ns: dict[str, int] = field(default_factory=dict)
    _within: list[int] = field(default_factory=list)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU time of the block, all threads together, to `stage`."""
        self._within.append(0)
        began = time.process_time_ns()
        try:
            yield
        finally:
            spent = time.process_time_ns() - began
            own = spent - self._within.pop()
            self.cpu_ns[stage] = self.cpu_ns.get(stage, 0) + own
            if self._within:
                self._within[-1] += spent

    def per_frame_ms(self, frames: int) -> dict[str, float]:
        """Return CPU milliseconds a frame by stage."""
        return {stage: spent / 1e6 / max(frames, 1) for stage, spent in self.cpu_ns.items()}


def project(board: Board, *, gflop: float, other_ms: float, reads_per_frame: float) -> Projection:
    """Return what `board` would do.

    Args:
        board: The computer.
        gflop: Of both networks, a frame.
        other_ms: CPU time a frame of all other code, measured here.
        reads_per_frame: Plates read a frame.
    """
    core_s = board.cores * gflop / board.gflop_per_s + other_ms / 1e3 * board.other_factor
    max_fps = board.cores / core_s if core_s else float("inf")
    return Projection(
        board=board.name,
        core_ms=core_s * 1e3,
        share_at_30_fps=core_s * CAMERA_FPS / board.cores,
        max_fps=max_fps,
        reads_per_minute=reads_per_frame * min(max_fps, CAMERA_FPS) * 60,
    )

"""What a Raspberry Pi would do with the same frames, and whether this machine is one."""

from dataclasses import dataclass
from pathlib import Path

from agent.base.heat import read_celsius, read_throttled

MODEL = "proc/device-tree/model"
"""The firmware's name of the board, ended by a zero byte; other machines have no such file."""
PI = "Raspberry Pi"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A Raspberry Pi at one moment."""

    celsius: float | None
    throttled_now: tuple[str, ...]
    throttled_before: tuple[str, ...]
    """Since its start."""


def read_model(root: Path = Path("/")) -> str | None:
    """Return the name of the board if this is a Raspberry Pi, else None."""
    try:
        name = (root / MODEL).read_bytes().rstrip(b"\0").decode("utf-8", "replace").strip()
    except OSError:
        return None
    return name if name.startswith(PI) else None


def read_heat(root: Path = Path("/")) -> Heat:
    """Return how warm the board is and whether it holds its clock rate."""
    now, before = read_throttled(root) or ((), ())
    return Heat(celsius=read_celsius(root), throttled_now=now, throttled_before=before)

"""What the best open reader reaches on the same pictures, and what we want to reach.

fast-alpr 0.4 (YOLOv9-t 416 with CCT-XS v2), measured once on the development machine, one thread,
decoding excluded. All in percent but the time.
"""

from dataclasses import dataclass

PEER = "fast-alpr 0.4"
PEER_CPU_MS = 57.0
GOAL_CPU_MS = 9.0
GOAL_GFLOP = {"detector": 0.30, "reader": 0.12}
GOAL_FALSE_PERCENT = 1.0
"""Pictures without a plate in which one is read."""
GOAL_CORNER_PERCENT = 3.0
"""Median corner error on rendered scenes, of the plate's width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Percentages of one set; None where nobody measured or asked."""

    strict: float | None = None
    folded: float | None = None
    found: float | None = None
    wrong: float | None = None


PEERS = {
    "ucsd_stills": Figures(strict=96.4, found=100.0, wrong=3.6),
    "ucsd_extra": Figures(strict=93.5, found=100.0),
    "openalpr_us_crops": Figures(strict=85.2, folded=89.8),
    "openalpr_br_crops": Figures(strict=83.5),
}
GOALS = {
    "ucsd_stills": Figures(strict=97.5, found=99.5, wrong=1.5),
    "ucsd_extra": Figures(strict=96.0, found=99.5),
    "openalpr_us_crops": Figures(strict=88.0, folded=93.0),
    "openalpr_br_crops": Figures(strict=84.0),
}
NOTHING = Figures()

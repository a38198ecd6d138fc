"""Read the plates of a frame in one call, vote over a passage, abstain rather than guess.

`read_crops` is the hot path. `Ballots` gathers what was read of each track, tells the tracker
which tracks are certain and which were taken over by another vehicle, and turns a passage that
is over into one `PlateRead`.
"""

from agent.read.ballots import CERTAIN_LOOKS, JPEG_MARGIN, Ballots
from agent.read.crops import USUAL_THRESHOLD, Reader, look_at, read_crops
from agent.read.judging import MERGE_MS, must_abstain

__all__ = [
    "CERTAIN_LOOKS",
    "JPEG_MARGIN",
    "MERGE_MS",
    "USUAL_THRESHOLD",
    "Ballots",
    "Reader",
    "look_at",
    "must_abstain",
    "read_crops",
]

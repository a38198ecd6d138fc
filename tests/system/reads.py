"""Prints what is read on a clip, for machines that are to be compared: `reads.py CLIP FRAMES`.

One line of JSON a vehicle: text, whether it abstained, votes, and where it stood. Needs nothing but
the agent.
"""

import json
import sys

from agent.base.clock import SystemClock
from agent.base.settings import DetectSettings, ModelSettings
from agent.camera.video import VideoFile
from agent.cli.bench_report import Sums
from agent.cli.bench_video import make_eyes, watch_clip
from agent.cli.models import open_models
from agent.vision.image import shrink_plane


def main() -> None:
    """Read a clip and print the reads."""
    clip, frames = sys.argv[1], int(sys.argv[2])
    sums = Sums()
    eyes = make_eyes(open_models(ModelSettings(), DetectSettings()), sums)
    camera = VideoFile(
        clip,
        make_lores=lambda plane: shrink_plane(plane, width_px=640),
        clock=SystemClock(),
        realtime=False,
    )
    with camera:
        watch_clip(camera, eyes, sums, max_frames=frames)
    for read in sums.reads:
        facts = {
            "text": read.text.characters,
            "abstained": read.abstained,
            "frames_seen": read.frames_seen,
            "frames_agreed": read.frames_agreed,
        }
        print(json.dumps(facts))


if __name__ == "__main__":
    main()

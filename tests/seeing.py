"""The seeing half of the road in one call, and pictures of vehicles to send along it."""

from agent.base.clock import to_ms
from agent.base.settings import ReadSettings, TrackSettings
from agent.detect import detect_plates
from agent.read import Ballots, read_crops
from agent.track import Tracker
from tests.plates import make_corners, show_plates


def watch(camera, models):
    """Carry all frames of `camera` along the road; return the reads of the vehicles."""
    tracker = Tracker(TrackSettings())
    ballots = Ballots(ReadSettings(), alphabet=models.reader.alphabet, keep_crops=True)
    reads = []
    with camera:
        for frame in camera.frames():
            found = detect_plates(frame, models.detector)
            step = tracker.follow(found, frame, certain=ballots.certain, swapped=ballots.swapped)
            corners = found.corners[step.wanted]
            slots = read_crops(frame.y, corners, models.reader, turn=frame.index)
            ballots.count(
                frame, track_ids=step.track_ids[step.wanted], corners=corners, slots=slots
            )
            now_ms = to_ms(frame.captured_at)
            reads += ballots.close(step.ended, alive=step.tracks["id"], now_ms=now_ms)
    return [*reads, *ballots.finish(tracker.finish())]


def drive(*vehicles, frames):
    """Return pictures of vehicles (text, first frame, x) that come down the picture."""
    pictures = []
    for number in range(frames):
        plates = {}
        for text, first, x in vehicles:
            y, width = 30 + 24 * (number - first), 100 + 3 * (number - first)
            if number >= first and y + width / 2 < 480:
                plates[text] = make_corners(x, y, width, width / 2)
        pictures.append(show_plates(plates, width=640, height=480))
    return pictures

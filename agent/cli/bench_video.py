"""`homeplate bench video`: the seeing half of the road on a recorded video, stage by stage."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import SystemClock, to_ms
from agent.base.records import Frame, Plane, PlateRead
from agent.base.settings import DetectSettings, ModelSettings, ReadSettings, TrackSettings
from agent.camera import Camera
from agent.camera.pictures import PictureFolder
from agent.camera.video import VideoFile
from agent.cli.bench_meter import Meter
from agent.cli.bench_report import Sums, draw_report, make_report
from agent.cli.bench_truth import load_truth
from agent.cli.models import Models, open_models
from agent.detect import Detector, detect_plates
from agent.read import Ballots, Reader, read_crops
from agent.track import Tracker
from agent.vision.image import shrink_plane
from agent.vision.session import Network

PROGRESS_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredNetwork:
    """A network whose time and work are counted."""

    network: Network
    stage: str
    meter: Meter
    count: Callable[[NDArray[np.uint8]], None]

    def run(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Return the outputs of the network within."""
        self.count(pixels)
        with self.meter.measure(self.stage):
            return self.network.run(pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """The stages between camera and gate."""

    detector: Detector
    reader: Reader
    tracker: Tracker
    ballots: Ballots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this kind of bench."""
    parser.add_argument("clip", metavar="CLIP", help="video file, or folder of pictures")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="one JSON object a vehicle")
    parser.add_argument("--realtime", action="store_true", help="at the pace it was recorded")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the report there")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames")


def run(args: argparse.Namespace) -> int:
    """Carry the video through camera, detect, track and read; print what it took."""
    truth = load_truth(args.truth) if args.truth else None
    models = open_models(
        ModelSettings(directory=args.models, threads=args.threads),
        DetectSettings(threshold=args.threshold),
    )
    sums = Sums()
    eyes = make_eyes(models, sums)
    with open_clip(args, sums.meter) as camera:
        watch_clip(camera, eyes, sums, max_frames=args.max_frames)
        sums.broken_frames = camera.broken_frames
    report = make_report(sums, models.manifest, truth=truth, clip=args.clip)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(draw_report(report))
    return 0


def open_clip(args: argparse.Namespace, meter: Meter) -> Camera:
    """Return the clip as a camera whose low-resolution planes are measured."""

    def make_lores(plane: Plane) -> Plane:
        with meter.measure("lores"):
            return shrink_plane(plane, width_px=args.lores_width)

    clock = SystemClock()
    if Path(args.clip).is_dir():
        folder = Path(args.clip)
        return PictureFolder(folder, make_lores=make_lores, clock=clock, realtime=args.realtime)
    return VideoFile(args.clip, make_lores=make_lores, clock=clock, realtime=args.realtime)


def make_eyes(models: Models, sums: Sums) -> Eyes:
    """Return the stages with their usual settings, and their networks metered."""
    detector, reader = models.detector, models.reader
    metered = partial(MeteredNetwork, meter=sums.meter)
    return Eyes(
        detector=replace(
            detector,
            network=metered(network=detector.network, stage="detect", count=sums.count_picture),
        ),
        reader=replace(
            reader, network=metered(network=reader.network, stage="read", count=sums.count_crops)
        ),
        tracker=Tracker(TrackSettings()),
        ballots=Ballots(
            ReadSettings(), alphabet=reader.alphabet, keep_crops=True, threshold=reader.threshold
        ),
    )


def watch_clip(camera: Camera, eyes: Eyes, sums: Sums, *, max_frames: int | None) -> None:
    """Carry the frames to their reads and count what it takes; progress on standard error."""
    began_ns = time.perf_counter_ns()
    for frame in metered_frames(camera.frames(), sums.meter, max_frames=max_frames):
        handed_ns = time.perf_counter_ns()
        sums.reads += look_at(frame, eyes, sums)
        sums.latencies_ms.append((time.perf_counter_ns() - handed_ns) / 1e6)
        sums.frames += 1
        if sums.frames % PROGRESS_EVERY == 0:
            sys.stderr.write(f"{sums.frames} frames\n")
    with sums.meter.measure("track"):
        sums.reads += eyes.ballots.finish(eyes.tracker.finish())
    sums.wall_s = (time.perf_counter_ns() - began_ns) / 1e9


def metered_frames(
    frames: Iterator[Frame], meter: Meter, *, max_frames: int | None
) -> Iterator[Frame]:
    """Give the frames and measure what making them takes."""
    limited = islice(frames, max_frames)
    while True:
        with meter.measure("decode"):
            frame = next(limited, None)
        if frame is None:
            return
        yield frame


def look_at(frame: Frame, eyes: Eyes, sums: Sums) -> tuple[PlateRead, ...]:
    """Carry one frame along the road up to the gate; return the reads of vehicles that passed."""
    meter = sums.meter
    with meter.measure("pick"):
        detections = detect_plates(frame, eyes.detector)
    with meter.measure("track"):
        step = eyes.tracker.follow(
            detections, frame, certain=eyes.ballots.certain, swapped=eyes.ballots.swapped
        )
    corners = detections.corners[step.wanted]
    with meter.measure("rectify"):
        slots = read_crops(frame.y, corners, eyes.reader, turn=frame.index)
    with meter.measure("vote"):
        eyes.ballots.count(
            frame, track_ids=step.track_ids[step.wanted], corners=corners, slots=slots
        )
        now_ms = to_ms(frame.captured_at)
        reads = eyes.ballots.close(step.ended, alive=step.tracks["id"], now_ms=now_ms)
    sums.plates += len(step.track_ids)
    return reads

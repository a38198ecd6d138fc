"""`homeplate bench images|video|seal|hotlist`: how fast the agent sees, keeps and matches."""

import argparse
from dataclasses import dataclass

import cv2

from agent.cli import bench_hotlist, bench_images, bench_seal, bench_video


@dataclass(frozen=True, slots=True)
class Bounded:
    """Turns an argument into a number within bounds."""

    kind: type[int] | type[float]
    low: float
    high: float

    def __call__(self, text: str) -> float:
        """Return the number; argparse reports the error."""
        number = self.kind(text)
        if not self.low <= number <= self.high:
            message = f"found {text}; expected {self.low} to {self.high}"
            raise argparse.ArgumentTypeError(message)
        return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    images = kinds.add_parser("images", help="single pictures with an index of their plates")
    bench_images.add_arguments(images)
    video = kinds.add_parser("video", help="a recorded video, with or without truth")
    bench_video.add_arguments(video)
    bench_seal.add_arguments(kinds.add_parser("seal", help="from a finished read to the disk"))
    hotlist = kinds.add_parser("hotlist", help="loading a list and looking plates up in it")
    bench_hotlist.add_arguments(hotlist)
    for kind in (images, video):
        kind.add_argument("--models", default="", metavar="FOLDER", help="folder of manifest.toml")
        kind.add_argument(
            "--threads", type=Bounded(int, 1, 16), default=1, metavar="N", help="of each network"
        )
        kind.add_argument(
            "--lores-width",
            type=Bounded(int, 160, 4096),
            default=640,
            metavar="PX",
            help="width of the detector's view (default 640)",
        )
        kind.add_argument(
            "--threshold", type=Bounded(float, 0, 1), metavar="SHARE", help="lowest score, 0 to 1"
        )


def run(args: argparse.Namespace) -> int:
    """Run one kind of bench."""
    if args.kind == "seal":
        return bench_seal.run(args)
    if args.kind == "hotlist":
        return bench_hotlist.run(args)
    cv2.setNumThreads(args.threads)
    return bench_images.run(args) if args.kind == "images" else bench_video.run(args)

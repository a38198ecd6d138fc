"""`homeplate bench images|video`: how fast and how exact the agent sees, on material with truth."""

import argparse

import cv2

from agent.cli import bench_images, bench_video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    images = kinds.add_parser("images", help="single pictures with an index of their plates")
    bench_images.add_arguments(images)
    video = kinds.add_parser("video", help="a recorded video, with or without truth")
    bench_video.add_arguments(video)
    for kind in (images, video):
        kind.add_argument("--models", default="", metavar="FOLDER", help="folder of manifest.toml")
        kind.add_argument("--threads", type=int, default=1, help="of each network (default 1)")
        kind.add_argument(
            "--lores-width", type=int, default=640, metavar="PX", help="the detector's view"
        )
        kind.add_argument("--threshold", type=float, help="lowest score of a plate, 0 to 1")


def run(args: argparse.Namespace) -> int:
    """Run one kind of bench."""
    cv2.setNumThreads(args.threads)
    return bench_images.run(args) if args.kind == "images" else bench_video.run(args)

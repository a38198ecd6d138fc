"""`homeplate watch` with the real picamera2 on a virtual camera: `watch.py ARGUMENTS`."""

import sys

import picamera2

from agent.cli import main
from tests.camera.real_picamera2 import LIBRARY

if __name__ == "__main__":
    picamera2.Picamera2 = LIBRARY.Picamera2
    sys.exit(main(["watch", *sys.argv[1:]]))

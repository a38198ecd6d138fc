"""Cuts the power of a watcher and a sender on a real ext4 file system in an image file.

    python -m tests.custody.cuts --cuts 20 --work FOLDER          (as root)

The two processes of `kills` work on the mounted image. At random moments they are stopped and the
image file is copied: what no fsync has waited for is not in the copy. The copy is mounted, which
replays its journal, and both are started on it. After some cuts a new image is begun: what lies in
it grows meanwhile, and with it the time of each look. Prints one JSON object.
"""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from tests.custody.kills import (
    FolderCity,
    Keys,
    Service,
    compare,
    drain,
    make_keys,
    make_sending,
    send,
    watch,
)

SIZE = "48M"
AN_IMAGE = 10
"""Cuts."""
BAD = ("lost", "altered", "doubled", "findings")


@contextmanager
def mounted(image: Path, place: Path):
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def make_image(path: Path) -> None:
    subprocess.run(["truncate", "-s", SIZE, str(path)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True)


def run_cuts(work: Path, cuts: int, seed: int) -> dict[str, int]:
    """Return the sums over all cuts."""
    rng, total = random.Random(seed), Counter()
    keys = make_keys()
    make_image(work / "live.img")
    told = os.open(work / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with mounted(work / "live.img", work / "live") as disk:
        state = disk / "state"
        state.mkdir()
        subprocess.run(["sync", "-f", str(disk)], check=True)
        city = FolderCity(work / "city", keys)
        services = (
            Service(lambda: watch(state, keys, told)),
            Service(lambda: send(state, keys, city)),
        )
        try:
            for _ in range(cuts):
                time.sleep(0.3 + 0.5 * rng.random())
                total["copied_again"] += copy_while_stopped(work, services)
                total.update(look(work, keys))
        finally:
            for service in services:
                service.kill()
    return dict(total) | {"cuts": cuts}


def copy_whole(image: Path, copy: Path) -> bool:
    """Copy an image; tell whether it is that of one moment: the kernel may write meanwhile."""
    subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
    return subprocess.run(["cmp", "-s", str(image), str(copy)], check=False).returncode == 0


def copy_while_stopped(work: Path, services: tuple[Service, ...]) -> int:
    """Copy the image while both processes stand still; return how often it had to be done again."""
    again = 0
    for service in services:
        os.kill(service.pid, signal.SIGSTOP)
    shutil.rmtree(work / "city-then", ignore_errors=True)
    (work / "cut.img").unlink(missing_ok=True)  # a loop device that lingers must not be used again
    while not copy_whole(work / "live.img", work / "cut.img"):
        again += 1
    shutil.copy(work / "acknowledged", work / "acknowledged-then")
    shutil.copytree(work / "city", work / "city-then")
    for service in services:
        os.kill(service.pid, signal.SIGCONT)
    return again


def look(work: Path, keys: Keys) -> dict[str, int]:
    """Start both on the copy, let them finish, compare."""
    told = os.open(work / "acknowledged-then", os.O_WRONLY | os.O_APPEND)
    with mounted(work / "cut.img", work / "cut") as disk:
        city = FolderCity(work / "city-then", keys)
        watch(disk / "state", keys, told, rounds=1)
        drain(make_sending(disk / "state", keys, city))
        os.close(told)
        return compare(disk / "state", keys, city, work / "acknowledged-then")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    total: Counter[str] = Counter()
    for done in range(0, args.cuts, AN_IMAGE):
        work = args.work / str(done)
        work.mkdir()
        total.update(run_cuts(work, min(AN_IMAGE, args.cuts - done), args.seed + done))
        shutil.rmtree(work)
    sys.stdout.write(json.dumps(total) + "\n")


if __name__ == "__main__":
    main()

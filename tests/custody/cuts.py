"""Cuts the power of a watcher and a sender on a real ext4 file system in an image file.

    python -m tests.custody.cuts --cuts 20 --work FOLDER          (as root)

The two processes of `kills` work on the mounted image. At random moments they are stopped and the
image file is copied: what no fsync has waited for is not in the copy. The copy is mounted, which
replays its journal, and both are started on it. Prints one JSON object.
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
                copy_while_stopped(work, services)
                total.update(look(work, keys))
        finally:
            for service in services:
                service.kill()
    return dict(total) | {"cuts": cuts}


def copy_while_stopped(work: Path, services: tuple[Service, ...]) -> None:
    for service in services:
        os.kill(service.pid, signal.SIGSTOP)
    shutil.rmtree(work / "city-then", ignore_errors=True)
    subprocess.run(
        ["cp", "--sparse=always", str(work / "live.img"), str(work / "cut.img")], check=True
    )
    shutil.copy(work / "acknowledged", work / "acknowledged-then")
    shutil.copytree(work / "city", work / "city-then")
    for service in services:
        os.kill(service.pid, signal.SIGCONT)


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
    sys.stdout.write(json.dumps(run_cuts(args.work, args.cuts, args.seed)) + "\n")


if __name__ == "__main__":
    main()

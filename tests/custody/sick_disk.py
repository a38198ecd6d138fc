"""Lets a real disk fall ill under a watcher and a sender, again and again, and get well.

    python -m tests.custody.sick_disk --fault fsync --rounds 10 --work FOLDER      (as root)

The disk is an image file behind a loop device, with ext4 on it; the image lies on a file system of
its own, so that this one can be shut down beneath it. The two processes of `kills` work on the
disk and are started again when they end, as systemd does. The faults:

- fsync: the device answers EIO to everything, and `fdatasync` with it.
- write: the same on a file system that is mounted `sync`, so that `write` itself answers EIO.
- read-only: the kernel finds an error in the file system and makes it read-only under open files.
- gone: the file system is shut down, as when the card is pulled: every call answers EIO.

After each fault all is mounted afresh, so that what counts is what the device has. Prints one JSON
object.
"""

import argparse
import fcntl
import json
import logging
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from agent.audit import RecordFile
from agent.trust.entries import Dropped, IoFailure, decode_entry
from tests.custody.kills import (
    FolderCity,
    Service,
    compare,
    drain,
    make_keys,
    make_sending,
    send,
    watch,
)

SIZES = ("96M", "64M")
"""Of the outer image and of the disk in it."""
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
FAULTS = {"fsync": "async", "write": "sync", "read-only": "async", "gone": "async"}
"""With how the disk is mounted."""


def call(*command: object) -> str:
    """Run a program of the system and return what it printed."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def make_image(path: Path, size: str) -> None:
    call("truncate", "-s", size, path)
    call("mkfs.ext4", "-q", "-F", path)


def unmount(place: Path) -> None:
    """Unmount once nobody has it: a container that just began elsewhere may, for a moment."""
    for _ in range(50):
        if subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    call("umount", place)


def shut_down(place: Path) -> None:
    """Let a file system answer EIO to everything; what no sync waited for is gone."""
    root = os.open(place, os.O_RDONLY)
    fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("<L", NO_LOG_FLUSH))
    os.close(root)


class Disk:
    """A loop device with ext4, and its illnesses."""

    def __init__(self, work: Path, fault: str) -> None:
        self.fault, self.outer, self.place = fault, work / "outer", work / "disk"
        self.image = work / "outer.img"
        self.outer.mkdir()
        self.place.mkdir()
        make_image(self.image, SIZES[0])
        call("mount", "-o", "loop", self.image, self.outer)
        make_image(self.outer / "disk.img", SIZES[1])
        call("sync", "-f", self.outer)
        self.mount()
        (self.place / "state").mkdir()
        call("sync", "-f", self.place)

    def mount(self) -> None:
        self.device = call("losetup", "-f", "--show", self.outer / "disk.img")
        options = f"errors=remount-ro,{FAULTS[self.fault]}"
        call("mount", "-o", options, self.device, self.place)

    def fall_ill(self) -> None:
        match self.fault:
            case "read-only":
                name = Path(self.device).name
                Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("test")
            case "gone":
                shut_down(self.place)
            case _:
                shut_down(self.outer)

    def get_well(self) -> None:
        """Mount all afresh; nobody has a file open."""
        self.give_back()
        call("mount", "-o", "loop", self.image, self.outer)
        self.mount()

    def give_back(self) -> None:
        unmount(self.place)
        call("losetup", "-d", self.device)
        unmount(self.outer)


class Supervised(Service):
    """A service whose exit codes are counted."""

    def __init__(self, work, codes: Counter[int]) -> None:
        self.codes = codes
        super().__init__(work)

    def look(self) -> None:
        """Start it again if it has ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.codes[os.waitstatus_to_exitcode(status)] += 1
            self.start()


def run_faults(work: Path, fault: str, rounds: int, seed: int) -> dict[str, int]:
    """Return what was acknowledged, kept and lost, and how the processes ended."""
    rng, codes = random.Random(seed), Counter()
    disk, keys = Disk(work, fault), make_keys()
    state, acknowledged = disk.place / "state", work / "acknowledged"
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    city = FolderCity(work / "city", keys)
    try:
        for _ in range(rounds):
            live_through(
                disk,
                (
                    Supervised(lambda: watch(state, keys, told), codes),
                    Supervised(lambda: send(state, keys, city), codes),
                ),
                rng,
            )
        watch(state, keys, told, rounds=1)
        drain(make_sending(state, keys, city))
        found = compare(state, keys, city, acknowledged)
        entries = [*map(decode_entry, RecordFile(state / "audit/watch/entries").follow())]
    finally:
        disk.give_back()
    return found | {
        "rounds": rounds,
        "ended_69": codes.pop(69, 0),
        "ended_otherwise": codes.total(),
        "io_errors_logged": sum(isinstance(entry, IoFailure) for entry in entries),
        "dropped_logged": sum(entry.count for entry in entries if isinstance(entry, Dropped)),
    }


def live_through(disk: Disk, services: tuple[Supervised, ...], rng: random.Random) -> None:
    """Work, fall ill, work on as far as that goes, end, get well."""
    attend(services, 0.4 + 0.4 * rng.random())
    disk.fall_ill()
    attend(services, 0.2 + 0.3 * rng.random())
    for service in services:
        service.end()
    disk.get_well()


def attend(services: tuple[Supervised, ...], seconds: float) -> None:
    for _ in range(round(seconds / 0.01)):
        time.sleep(0.01)
        for service in services:
            service.look()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", choices=FAULTS, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = run_faults(args.work, args.fault, args.rounds, args.seed)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

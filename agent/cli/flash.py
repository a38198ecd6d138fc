"""`homeplate flash`: write a unit's bundle to the boot partition of its card, or into an image.

It adds one folder, `homeplate`, and the three files of cloud-init. It touches nothing else.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, DeviceError
from agent.cli.boot_partition import BootPartition, open_target
from agent.cli.cloud_init import is_foreign
from agent.cli.unit_bundle import (
    CLOUD_FILES,
    MANIFEST,
    OWN_FILES,
    Bundle,
    Manifest,
    load_bundle,
    note_flashed,
    require_usable,
)

FOLDER = "homeplate"
CLUSTER_BYTES = 32_768
"""The largest that FAT has in use: each file may take that much more than its bytes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of `unit add`")
    parser.add_argument(
        "target", type=Path, metavar="TARGET", help="mounted boot partition, or an image file"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    parser.add_argument(
        "--again", action="store_true", help="this bundle was flashed, but that card never enrolled"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="also replace another unit's bundle or cloud-init files that are not ours",
    )


def run(args: argparse.Namespace) -> int:
    """Check, write, read back.

    Raises:
        ConfigError: The bundle or the target is not what it should be; nothing was written.
        IntegrityError: A file of the bundle is not the one that was made.
        DeviceError: The disk refuses, or does not give back what was written.
    """
    now = SystemClock().now()
    bundle = load_bundle(args.bundle)
    require_usable(bundle, now=now, again=args.again)
    partition = open_target(args.target)
    files = place_files(bundle)
    require_room(partition, files)
    if not args.replace:
        require_own(partition, bundle.manifest.unit)
    if args.dry_run:
        _tell_plan(partition, files)
        return 0
    write_files(partition, files)
    note_flashed(bundle, partition.place, now=now)
    print(f"{bundle.manifest.unit}: flashed to {partition.place}, {len(files)} files read back")
    print(f"  it enrols at its first start, until {bundle.manifest.expires_at:%Y-%m-%d %H:%M} UTC")
    return 0


def place_files(bundle: Bundle) -> dict[str, bytes]:
    """Return the files by their names on the partition, the manifest last: it makes it whole."""
    names = {name: name for name in CLOUD_FILES}
    names |= {name: f"{FOLDER}/{name}" for name in (*OWN_FILES, MANIFEST)}
    return {placed: bundle.files[name] for name, placed in names.items()}


def require_room(partition: BootPartition, files: dict[str, bytes]) -> None:
    """Make sure that the files fit.

    Raises:
        ConfigError: They do not.
    """
    needed = sum(len(content) + CLUSTER_BYTES for content in files.values())
    found = partition.free_bytes()
    if found < needed:
        message = f"{partition.place}: too small: {found} bytes free; expected {needed}"
        raise ConfigError(message)


def require_own(partition: BootPartition, unit: str) -> None:
    """Make sure that nobody else's work is overwritten.

    Raises:
        ConfigError: There is another unit's bundle, or cloud-init was set up by somebody else.
    """
    manifest = f"{FOLDER}/{MANIFEST}"
    if partition.has(manifest):
        _require_same_unit(partition, partition.read(manifest), unit)
    for name in CLOUD_FILES:
        if partition.has(name) and is_foreign(partition.read(name)):
            message = f"{partition.place}: {name} has settings that are not ours; keep a copy and "
            message += "say --replace, or write the card afresh without settings of the Imager"
            raise ConfigError(message)


def write_files(partition: BootPartition, files: dict[str, bytes]) -> None:
    """Write all files, tell how far it is, and read each back.

    Raises:
        DeviceError: The disk refuses, or does not give back what was written.
    """
    partition.make_folder(FOLDER)
    for number, (name, content) in enumerate(files.items(), start=1):
        sys.stderr.write(f"writing {number}/{len(files)} {name}\n")
        partition.write(name, content)
    for number, (name, content) in enumerate(files.items(), start=1):
        sys.stderr.write(f"reading back {number}/{len(files)} {name}\n")
        if partition.read(name) != content:
            message = f"{partition.place}: {name} does not read back as written; take another card"
            raise DeviceError(message)


def _require_same_unit(partition: BootPartition, content: bytes, unit: str) -> None:
    try:
        found = msgspec.json.decode(content, type=Manifest).unit
    except (msgspec.MsgspecError, ValueError):
        return  # a broken one may be replaced
    if found != unit:
        message = f"{partition.place}: has the bundle of {found}; say --replace if that is meant"
        raise ConfigError(message)


def _tell_plan(partition: BootPartition, files: dict[str, bytes]) -> None:
    print(f"would be written to {partition.place}:")
    for name, content in files.items():
        print(
            f"  {'replaced' if partition.has(name) else 'new':<10}{len(content):>9,} bytes  {name}"
        )

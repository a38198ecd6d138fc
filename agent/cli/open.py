"""`homeplate open`: the city opens sealed frames with its private key."""

import argparse
import json
import mmap
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from agent.base.clock import from_ms
from agent.base.errors import ConfigError, CredentialError, InputError, IntegrityError
from agent.base.files import write_whole
from agent.base.lanes import Lane
from agent.cli.keyring import KeyRing, load_ring
from agent.cli.open_alerts import (
    alert_fields,
    draw_alert,
    draw_end,
    end_fields,
    name_picture,
    read_fields,
)
from agent.trust.alerts import StoredAlert, StoredEnd, decode_hits_text
from agent.trust.contents import (
    DIRECTIONS,
    StoredCrop,
    StoredRead,
    decode_crops_text,
    decode_reads_text,
)
from agent.trust.envelope import Decrypter, open_sealed
from agent.trust.frames import (
    MAGIC,
    Damage,
    Found,
    SealedFrame,
    encode_frame,
    frame_hash,
    scan_frames,
)
from agent.trust.header import FrameHeader

Item = StoredRead | StoredCrop | StoredAlert | StoredEnd

_SUFFIXES: Final = (".seg", ".open")
_ENDPOINTS: Final = ("endpoint.toml", "endpoint.json", "storage", "index.sqlite")
"""One of these lies in an endpoint's folder, or in its storage."""
_EXPECTED: Final = "segments of a unit or an endpoint's export"
_HEAD: Final = (
    f"{'last seen (UTC)':<23}  {'unit':<16}  {'lane':<5}  {'plate':<16}  "
    f"{'weakest':>7}  {'frames':>6}  {'moved':<6}  note"
)


@dataclass(slots=True)
class Tally:
    """What was met on the way."""

    frames: int = 0
    """Correct and opened."""
    reads: int = 0
    alerts: int = 0
    crops: int = 0
    repeated: int = 0
    """Frames that were there before: a frame may be stored twice."""
    unfinished: int = 0
    """Beginnings of frames at the end of a file: power was cut, nothing acknowledged is lost."""
    damaged: int = 0
    refused: int = 0
    """Correct frames whose inside was altered or is not in the format."""
    foreign: Counter[str] = field(default_factory=Counter)
    """Sealed to another key, by the id of that key."""
    gone: Counter[str] = field(default_factory=Counter)
    """Frames of periods whose key was destroyed, by what there is to say of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=Path,
        help="segment, endpoint's export, or a folder of them",
    )
    parser.add_argument(
        "--key",
        metavar="CITY_KEY",
        type=Path,
        required=True,
        help="the city's private key, or the folder of `homeplate city keys`",
    )
    parser.add_argument(
        "--crops", metavar="FOLDER", type=Path, help="write the pictures of plates into FOLDER"
    )
    parser.add_argument(
        "--alerts", action="store_true", help="only hits of the hotlist, each with all it carries"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print what opens.

    Raises:
        InputError: A path is missing or holds no frames.
        CredentialError: No private key, or frames that are sealed to another one, or to one that
            was destroyed.
        IntegrityError: Damaged or altered frames; the others were printed.
    """
    ring = load_ring(args.key)
    files = [file for path in args.paths for file in _files(path)]
    if args.crops:
        _make_folder(args.crops)
    tally = Tally()
    for header, item in _opened(files, ring, tally):
        if args.alerts and not isinstance(item, StoredAlert | StoredEnd):
            continue
        if args.crops:
            _keep_picture(args.crops, header, item)
        if args.json:
            print(json.dumps(_as_json(header, item)))
        else:
            _print_item(header, item, tally)
    if tally.frames:
        print(_summary(tally, len(files)), file=sys.stderr if args.json else sys.stdout)
    if not tally.frames and all(_is_unused(path, files) for path in args.paths):
        message = f"{args.paths[0]}: nothing was received yet: no unit has sent a frame"
        raise InputError(message)
    _complain(tally, ring)
    return 0


def _files(path: Path) -> tuple[Path, ...]:
    """Return the files to read: `path` itself, or those in a folder that hold frames."""
    with _reading(path):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            return tuple(file for file in inside if file.suffix in _SUFFIXES or _is_joined(file))
        path.stat()
    _require_frames(path)
    return (path,)


def _is_joined(path: Path) -> bool:
    """Tell whether a file of any name begins with a frame, as an export does."""
    with _reading(path), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected sealed frames"
        raise InputError(message) from error


def _opened(
    files: Sequence[Path], ring: KeyRing, tally: Tally
) -> Iterator[tuple[FrameHeader, Item]]:
    """Yield the items of all frames that open, each frame once."""
    seen: set[bytes] = set()
    for frame, place in _frames(files, tally):
        sha256 = frame_hash(encode_frame(frame))
        if sha256 in seen:
            tally.repeated += 1
            continue
        seen.add(sha256)
        for item in _open_counted(frame, ring, tally, place):
            tally.reads += isinstance(item, StoredRead)
            tally.alerts += isinstance(item, StoredAlert)
            tally.crops += isinstance(item, StoredCrop)
            yield frame.header, item


def _frames(files: Sequence[Path], tally: Tally) -> Iterator[tuple[SealedFrame, str]]:
    for path in files:
        for found in _scan(path):
            if not isinstance(found, Damage):
                yield found.frame, f"{path} at byte {found.offset}"
            elif found.tail:
                tally.unfinished += 1
            else:
                tally.damaged += 1
                _say(f"{path}: {found.length} damaged bytes from byte {found.offset} on")


def _scan(path: Path) -> Iterator[Found | Damage]:
    """Yield what a file holds; it is mapped, not read: exports are large."""
    with _reading(path), path.open("rb") as file:
        if path.stat().st_size == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield from scan_frames(content)


def _open_counted(frame: SealedFrame, ring: KeyRing, tally: Tally, place: str) -> Sequence[Item]:
    key = ring.openers.get(frame.header.key_id)
    if key is None:
        _count_closed(frame.header.key_id, ring, tally)
        return ()
    try:
        items = open_items(frame, key)
    except CredentialError:
        tally.foreign[frame.header.key_id.hex()] += 1
        return ()
    except IntegrityError as error:
        tally.refused += 1
        _say(f"{place}: {error}")
        return ()
    tally.frames += 1
    return items


def _count_closed(key_id: bytes, ring: KeyRing, tally: Tally) -> None:
    """Count a frame whose key is not at hand, for its reason."""
    period = ring.gone.get(key_id)
    if period is None:
        tally.foreign[key_id.hex()] += 1
    else:
        what = f"{period.name} (key {period.key_id}, destroyed {period.destroyed_at})"
        tally.gone[what] += 1


def open_items(frame: SealedFrame, key: Decrypter) -> Sequence[Item]:
    """Return the reads, alerts or crops in a frame.

    Raises:
        CredentialError: Sealed to another key.
        IntegrityError: Altered, not in the format, or not the sequences that the header states.
    """
    plaintext = open_sealed(frame, key)
    items: Sequence[Item]
    match frame.header.lane:
        case Lane.HITS:
            items = decode_hits_text(plaintext)
        case Lane.CROPS:
            items = decode_crops_text(plaintext)
        case _:
            items = decode_reads_text(plaintext)
    stated = range(frame.header.first_sequence, frame.header.last_sequence + 1)
    if [item.sequence for item in items] != list(stated):
        message = "frame: its items are not those that its header states"
        raise IntegrityError(message)
    return items


def _as_json(header: FrameHeader, item: Item) -> dict[str, object]:
    origin: dict[str, object] = {
        "unit": header.unit,
        "boot": header.boot.hex(),
        "lane": header.lane.label,
    }
    match item:
        case StoredAlert():
            return {"kind": "alert"} | origin | alert_fields(item)
        case StoredEnd():
            return {"kind": "end"} | origin | end_fields(item)
        case StoredRead():
            return {"kind": "read"} | origin | read_fields(item)
    fields = msgspec.structs.asdict(item) | {
        "jpeg_bytes": len(item.jpeg),
        "read_lane": item.lane.label,
    }
    del fields["jpeg"], fields["lane"]
    return {"kind": "crop"} | origin | fields


def _print_item(header: FrameHeader, item: Item, tally: Tally) -> None:
    match item:
        case StoredAlert():
            print("\n".join(draw_alert(header, item)))
        case StoredEnd():
            print(draw_end(header, item))
        case StoredRead():
            _print_row(header, item, first=tally.reads == 1)


def _keep_picture(folder: Path, header: FrameHeader, item: Item) -> None:
    """Write the picture of a plate, where the item has one."""
    if isinstance(item, StoredCrop):
        _write_picture(folder / _picture_name(header, item), item.jpeg)
    elif isinstance(item, StoredAlert) and item.jpeg:
        _write_picture(folder / name_picture(header, item.sequence), item.jpeg)


def _print_row(header: FrameHeader, read: StoredRead, *, first: bool) -> None:
    if first:
        print(_HEAD)
    seen = from_ms(read.last_ms).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    weakest = f"{min(read.confidences, default=0) / 2.55:.0f} %"
    print(
        f"{seen:<23}  {header.unit:<16}  {header.lane.label:<5}  {read.text:<16}  {weakest:>7}  "
        f"{read.frames_seen:>6}  {DIRECTIONS[read.direction]:<6}"
        + ("  unreadable" if read.abstained else "")
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"--crops {path}: cannot be made ({error.strerror}); name a folder of your own"
        raise ConfigError(message) from error


def _write_picture(path: Path, jpeg: bytes) -> None:
    try:
        write_whole(path, jpeg)
    except OSError as error:
        message = f"--crops {path}: cannot be written ({error.strerror}); make room or rights"
        raise ConfigError(message) from error


def _picture_name(header: FrameHeader, crop: StoredCrop) -> str:
    boot = header.boot[:4].hex()
    return f"{header.unit}-{boot}-{crop.lane.label}-{crop.read_sequence}.jpg"


def _summary(tally: Tally, files: int) -> str:
    told = {
        "reads": tally.reads,
        "alerts": tally.alerts,
        "crops": tally.crops,
        "frames": tally.frames,
        "files": files,
        "stored twice": tally.repeated,
        "unfinished": tally.unfinished,
        "damaged": tally.damaged,
        "altered": tally.refused,
        "sealed to another key": tally.foreign.total(),
        "key destroyed": tally.gone.total(),
    }
    return "opened: " + " · ".join(f"{name} {count}" for name, count in told.items() if count)


def _require_frames(path: Path) -> None:
    """Refuse a file that was named and is something else altogether, as a log.

    Raises:
        InputError: There is not one beginning of a frame in it.
    """
    if path.suffix in _SUFFIXES:
        return  # what is left of a unit's own segment is told as damage
    with _reading(path), path.open("rb") as file:
        if path.stat().st_size == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = content.find(MAGIC)
    if found < 0:
        message = f"{path}: these are no sealed frames; expected {_EXPECTED}"
        raise InputError(message)


def _is_unused(path: Path, files: Sequence[Path]) -> bool:
    """Tell an endpoint's folder, or its export, into which nothing has come yet."""
    if not path.is_dir():
        return path.stat().st_size == 0
    inside = [file for file in files if path in file.parents and file.stat().st_size]
    return not inside and any((path / name).exists() for name in _ENDPOINTS)


def _complain(tally: Tally, ring: KeyRing) -> None:
    if tally.damaged or tally.refused:
        message = (
            f"damaged places: {tally.damaged}, altered frames: {tally.refused}; all that opens is "
            "shown; fetch the others from another copy"
        )
        raise IntegrityError(message)
    if tally.foreign:
        needed = ", ".join(f"{count} to {key_id}" for key_id, count in tally.foreign.items())
        message = (
            f"frames sealed to another key than this one ({ring.describe()}): {needed}; "
            "use the city's key with that id, see `homeplate city keys list`"
        )
        raise CredentialError(message)
    if tally.gone:
        told = ", ".join(f"{count} of the period {what}" for what, count in tally.gone.items())
        message = f"frames that nobody can open any more: {told}"
        raise CredentialError(message)
    if not (tally.frames or tally.unfinished):
        message = f"no sealed frames found; expected {_EXPECTED}"
        raise InputError(message)


def _say(line: str) -> None:
    print(f"homeplate: {line}", file=sys.stderr)

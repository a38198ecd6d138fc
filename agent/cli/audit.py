"""`homeplate audit verify`: do the unit's logs, receipts and spool tell one true story?

For an auditor with a unit's state folder (or a copy of it), the policy, and the public halves of
the unit's two log keys as they were enrolled. Neither the unit nor the city is trusted.
"""

import argparse
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.audit import CHECKPOINTS, ENTRIES, RecordFile
from agent.base.append_file import read_file
from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.errors import ConfigError, IntegrityError
from agent.base.files import read_bounded
from agent.base.lanes import Lane
from agent.base.segments import disk_errors
from agent.cli.audit_report import TOLD, Report, describe, draw_table
from agent.spool import SpoolReader
from agent.trust.backlog import SegmentKey
from agent.trust.balance import (
    Book,
    Finding,
    Origin,
    SegmentContent,
    balance_reads,
    check_sequences,
    check_spool,
    check_uploads,
    count_uncommitted,
)
from agent.trust.bundle import open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.entries import Entry
from agent.trust.frames import Damage, Found, encode_frame, frame_hash
from agent.trust.notes import (
    NOTE_LIMIT_BYTES,
    log_origin,
    open_checkpoint,
    peek_checkpoint,
    split_notes,
)
from agent.trust.policy import receipt_keys
from agent.trust.review import (
    LogContent,
    LogReview,
    check_unsigned_deletions,
    review_log,
    review_receipts,
)
from agent.trust.signatures import PublicKey, load_public_file

_KEY_LIMIT_BYTES: Final = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    commands = parser.add_subparsers(dest="audit_command", metavar="COMMAND", required=True)
    verify = commands.add_parser("verify", help="check logs, signatures, receipts and the balance")
    verify.add_argument(
        "state", type=Path, metavar="STATE", help="the unit's state folder, or a copy of it"
    )
    for name, what in (
        ("root", "the city's trusted root, root.json"),
        ("watch-key", "public key of the watcher's log, as enrolled; DER or PEM"),
        ("send-key", "public key of the sender's log, as enrolled; DER or PEM"),
    ):
        verify.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=what)
    verify.add_argument(
        "--policy",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="the city's policy bundles of the time, which name the receipt keys",
    )
    verify.add_argument("--all", action="store_true", help="tell every finding, not the first few")
    verify.add_argument("--json", action="store_true", help="for machines; tells every finding")


def run(args: argparse.Namespace) -> int:
    """Verify and print the report.

    Raises:
        ConfigError: A file is missing.
        CredentialError: A key is of the wrong kind.
        IntegrityError: Something does not hold; the report says what.
    """
    trusted = trust_root(_read_file(args.root), place=str(args.root))
    decisions = [
        open_bundle(_read_file(path), trusted=trusted, now=None, place=str(path))
        for path in args.policy
    ]
    report = review_state(
        args.state,
        watch_key=_read_key(args.watch_key),
        send_key=_read_key(args.send_key),
        city_keys=tuple(key for item in decisions for key in receipt_keys(item.policy)),
    )
    told = None if args.all else TOLD
    print(json.dumps(describe(report)) if args.json else draw_table(report, told=told))
    if report.faults:
        first = report.faults[0]
        message = f"{args.state}: {first.reason}: {first.detail}"
        raise IntegrityError(message)
    return 0


def review_state(
    state: Path,
    *,
    watch_key: PublicKey,
    send_key: PublicKey,
    city_keys: tuple[PublicKey, ...],
    disk: Disk = SYSTEM_DISK,
) -> Report:
    """Return what is to be said of a unit's state folder.

    The unit may be at work meanwhile: the balance is that of the moment before the spool is
    looked at; what came later is known but not counted.

    Raises:
        ConfigError: There are no logs in it.
        DeviceError: It cannot be read.
    """
    with without_collector():
        return _review(state, (watch_key, send_key), city_keys, disk)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch off the search for cycles: an audit holds a million records and makes none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()  # into the oldest generation, unseen: the next search would see all of it
            gc.unfreeze()
            gc.enable()


def _review(
    state: Path,
    keys: tuple[PublicKey, PublicKey],
    city_keys: tuple[PublicKey, ...],
    disk: Disk,
) -> Report:
    book = Book()
    audit = state / "audit"
    records = RecordFile(audit / "watch" / ENTRIES, disk)
    counted_bytes = _size_of(records.path, disk)
    spool, strangers = _read_spool(state / "spool", disk)
    sent = RecordFile(audit / "send" / ENTRIES, disk)
    sent_bytes = _size_of(sent.path, disk)
    # Last: what stood there when the others were looked at is signed by now, or nobody will.
    notes = {name: _read_notes(audit / name, disk) for name in ("watch", "send")}
    unit = _unit_of((*notes["watch"][0], *notes["send"][0]), state)
    _refuse_swapped(notes["watch"][0], notes["send"][0], keys)
    send = review_log(
        _open_log(sent, notes["send"][0], disk, sent_bytes),
        key=keys[1],
        origin=log_origin(unit, "send"),
        enter=book.enter,
    )
    watch = review_log(
        _open_log(records, notes["watch"][0], disk, counted_bytes),
        key=keys[0],
        origin=log_origin(unit, "watch"),
        sizes={claim.receipt.log_size for claim in book.claims},
        enter=_enter_counted(book, records, counted_bytes),
    )
    _judge_rest(watch, notes["watch"][1])
    _judge_rest(send, notes["send"][1])
    logged = book.logged() if spool else set()
    lanes, missing = balance_reads(book, spool)
    receipts, wrong = review_receipts(book.claims, keys=city_keys, unit=unit, watch=watch)
    findings = (
        *watch.findings,
        *send.findings,
        *book.findings,
        *check_sequences(book),
        *check_uploads(book),
        *check_spool(book, logged, spool, unit=unit),
        *check_unsigned_deletions(send, spool),
        *wrong,
        *missing,
        *strangers,
    )
    return Report(
        unit=unit,
        watch=watch,
        send=send,
        book=book,
        lanes=lanes,
        receipts=receipts,
        spool=spool,
        uncommitted=count_uncommitted(logged, spool),
        findings=findings,
    )


def _refuse_swapped(
    watched: Sequence[str], sent: Sequence[str], keys: tuple[PublicKey, PublicKey]
) -> None:
    """Tell a slip of the auditor from a log that was forged.

    Raises:
        ConfigError: Each log is signed by the key that was given for the other.
    """
    watch_key, send_key = keys
    if watched and sent and _is_by(watched[-1], send_key) and _is_by(sent[-1], watch_key):
        message = "--watch-key and --send-key are swapped: each log is signed by the other's key"
        raise ConfigError(message)


def _is_by(note: str, key: PublicKey) -> bool:
    """Tell whether a key signed a checkpoint, of whatever log."""
    try:
        open_checkpoint(note, (key,), origin=peek_checkpoint(note).origin)
    except IntegrityError:
        return False
    return True


def _enter_counted(
    book: Book, records: RecordFile, counted_bytes: int
) -> Callable[[list[Entry]], None]:
    """Return what takes in the watcher's entries: those within `counted_bytes`, then the recent."""

    def enter(entries: list[Entry]) -> None:
        (book.enter if records.offset <= counted_bytes else book.enter_recent)(entries)

    return enter


def _read_file(path: Path) -> bytes:
    return read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES)


def _read_key(path: Path) -> PublicKey:
    return load_public_file(read_bounded(path, limit_bytes=_KEY_LIMIT_BYTES), place=str(path))


def _read_notes(directory: Path, disk: Disk) -> tuple[tuple[str, ...], str]:
    """Return the whole checkpoints and what stands after them."""
    path = directory / CHECKPOINTS
    with disk_errors(path):
        try:
            text = read_file(path, disk).decode(errors="replace")
        except FileNotFoundError:
            text = ""
    return split_notes(text)


def _size_of(path: Path, disk: Disk) -> int:
    """Return the size of a log's entries in bytes, 0 where there are none."""
    with disk_errors(path):
        try:
            return disk.size_at(path)
        except FileNotFoundError:
            return 0


def _open_log(records: RecordFile, notes: tuple[str, ...], disk: Disk, until: int) -> LogContent:
    """Return a log; what stands behind the place `until` is recent."""
    path = records.path
    if not _size_of(path, disk):
        return LogContent(
            entries=(), recent=(), notes=notes, lengths=lambda: (0, 0), rest=lambda: b""
        )
    return LogContent(
        entries=records.batches(until=until),
        recent=records.batches(),
        notes=notes,
        lengths=lambda: (records.offset, disk.size_at(path) - records.offset),
        rest=records.rest,
    )


def _unit_of(notes: Iterable[str], state: Path) -> str:
    """Return the unit that the first readable checkpoint names; its signature is still to come.

    Raises:
        ConfigError: There is none: not a unit's state.
    """
    for note in notes:
        with suppress(IntegrityError):
            return peek_checkpoint(note).origin.split("/")[1]
    message = f"{state}: no checkpoint of a unit's log; expected audit/watch/{CHECKPOINTS}"
    raise ConfigError(message)


def _judge_rest(log: LogReview, rest: str) -> None:
    """Tell a torn last note, which a power cut leaves, from damage before others."""
    if len(rest) > NOTE_LIMIT_BYTES or "\n\n—" in rest:
        log.find("checkpoint-damaged", f"after {log.checkpoints} checkpoints stands no whole one")


def _read_spool(
    root: Path, disk: Disk
) -> tuple[dict[SegmentKey, SegmentContent], tuple[Finding, ...]]:
    """Return what the spool holds, and the names in it that are no segments."""
    reader = SpoolReader(root, disk)
    found: dict[SegmentKey, SegmentContent] = {}
    strangers = []
    for lane in Lane:
        segments, unknown = reader.lane(lane)
        for segment in segments:
            items = reader.frames(segment)
            frames = [item.frame for item in items if isinstance(item, Found)]
            found[lane, segment.path.stem] = SegmentContent(
                frames={
                    frame_hash(encode_frame(frame)): Origin(
                        frame.header.unit, frame.header.boot, frame.header.first_sequence
                    )
                    for frame in frames
                },
                closed=segment.closed,
                damaged_bytes=sum(item.length for item in items if isinstance(item, Damage)),
            )
        strangers += [
            Finding(reason="unknown-file", detail=f"spool/{lane.label}/{name} is no segment")
            for name in unknown
        ]
    return found, tuple(strangers)

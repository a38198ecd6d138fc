"""`homeplate retire`: the end of a unit. Destroys spool and keys, and leaves a certificate of it.

In this order, so that it may be cut off and called again: the spool; the last entry of the log,
signed, from which on no watcher and no sender starts; the city has it, and takes no more from this
unit; the keys.
"""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.audit import AuditLog, LogReader, read_backlog
from agent.audit.files import ENTRIES, RecordFile
from agent.base.append_file import make_directory
from agent.base.clock import Clock, ForwardClock, SystemClock, to_ms
from agent.base.errors import ConfigError, DeviceError, UplinkError
from agent.base.files import read_bounded, sync_directory, write_whole
from agent.base.health import SendCounters
from agent.base.texts import require_words
from agent.cli.enroll import KEY_NAMES, wipe_file
from agent.cli.unit import (
    Unit,
    add_config,
    destruction_statement,
    load_unit,
    renewed_certificate,
)
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.deletion import Deletion
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.backlog import Backlog
from agent.trust.entries import Entry, Retired
from agent.trust.frames import Found, encode_frame, frame_hash
from agent.trust.notes import log_origin
from agent.trust.policy import quota_bytes
from agent.trust.retirement import RETIRE_PATH, STATEMENT_LIMIT_BYTES, make_statement
from agent.uplink import Uplink

HANDED_IN = "destruction.handed-in"
_FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """Where the certificate of destruction is kept, and the mark that somebody has it."""

    statement: Path
    """The certificate."""

    @property
    def handed_in(self) -> Path:
        """There once the city, or the technician's file, has it."""
        return self.statement.with_name(HANDED_IN)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument("--reason", required=True, help="for the log, as in: camera taken down")
    parser.add_argument("--discard", action="store_true", help="also reads that were not sent yet")
    parser.add_argument(
        "--offline",
        type=Path,
        metavar="FILE",
        help="write the certificate of destruction here instead of handing it to the city",
    )
    parser.add_argument("--yes", action="store_true", help="really: there is no way back")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be")


def run(args: argparse.Namespace) -> int:
    """Retire the unit, or finish what was begun.

    Raises:
        ConfigError: No reason, no `--yes`, reads are unsent and no `--discard`, it is retired
            already, or its newest policy is gone.
        DeviceError: The disk refuses, or watcher or sender still run.
        UplinkError: The city was not reached; the keys are still there, call again.
        RefusedError: The city refuses; the keys are still there.
    """
    reason = require_words(args.reason, place="--reason")
    # What is given up is told below, and in the unit's own log: no bare words of the events.
    logging.getLogger("agent").addHandler(logging.NullHandler())
    unit, clock = load_unit(args.config, "send"), SystemClock()
    papers = Papers(statement=destruction_statement(unit.settings))
    _require_keys(unit, papers)
    _require_way(unit, args.offline)
    if args.dry_run or not args.yes:
        return _tell_plan(unit, args)
    try:
        close_unit(unit, clock, papers, reason=reason, discard=args.discard)
        if not papers.handed_in.exists():
            hand_in_or_tell(unit, papers.statement, args.offline)
            write_whole(papers.handed_in, b"")
        destroy_keys(unit)
    except OSError as error:
        message = f"{error.filename or papers.statement}: the disk refuses ({error.strerror})"
        raise DeviceError(message) from error
    print(f"{unit.settings.unit}: retired; keys and spool are destroyed")
    print(f"  certificate of destruction: {papers.statement}")
    return 0


def close_unit(unit: Unit, clock: Clock, papers: Papers, *, reason: str, discard: bool) -> None:
    """Close the books; again where something lies in the spool of a unit that is retired already.

    Raises:
        ConfigError: Reads are unsent, and `discard` is not said. After the first certificate
            nothing can be sent any more, and it need not be said.
        DeviceError: The disk refuses, or watcher or sender still run.
    """
    begun = papers.statement.exists()
    if papers.handed_in.exists() and not SpoolReader(unit.spool).segments():
        return  # perhaps without a key that could open the logs
    with settled_watcher(unit, clock):
        if not begun or SpoolReader(unit.spool).segments():
            close_books(unit, clock, papers, reason=reason, discard=discard or begun)


def close_books(unit: Unit, clock: Clock, papers: Papers, *, reason: str, discard: bool) -> None:
    """Destroy the spool, write the last entry and the certificate of destruction.

    A certificate that the city has is left as it is.

    Raises:
        ConfigError: Reads are unsent, and `discard` is not said.
        DeviceError: The disk refuses, or another process has a log or the spool.
    """
    origin = log_origin(unit.settings.unit, "send")
    audit = AuditLog(unit.send_audit, unit.load_signer("send.key"), origin, clock)
    try:
        reads = destroy_spool(unit, audit, clock, discard=discard)
        audit.append(make_entry(unit, at_ms=to_ms(clock.now()), reads=reads, reason=reason))
        note = audit.checkpoint()
        entries = tuple(RecordFile(unit.send_audit / ENTRIES).follow())
        if not papers.handed_in.exists():
            make_directory(papers.statement.parent, mode=_FOLDER_MODE)
            content = make_statement(unit.settings.unit, entries, note)
            write_whole(papers.statement, content)  # while the logs are ours: see their start
    finally:
        audit.close()


@contextmanager
def settled_watcher(unit: Unit, clock: Clock) -> Iterator[None]:
    """Close what the watcher left open and enter what it had not entered, as its start would.

    Its log is held until the end of the block: no watcher starts meanwhile.

    Raises:
        DeviceError: It still runs, or the disk refuses.
    """
    if not unit.watch_audit.exists():
        yield  # it never ran
        return
    origin = log_origin(unit.settings.unit, "watch")
    audit = AuditLog(unit.watch_audit, unit.load_signer("watch.key"), origin, clock)
    limits, quota = unit.settings.spool, quota_bytes(unit.policy)
    spool = SpoolWriter(unit.spool, limits, quota, unit.boot)
    try:
        try:
            spooled = SpoolReader(unit.spool)
            spool.recover(lambda found: adopt_leftovers(found, spooled, audit, clock))
        finally:
            spool.close()
        yield
    finally:
        audit.close()


def destroy_spool(unit: Unit, audit: AuditLog, clock: Clock, *, discard: bool) -> int:
    """Delete all segments, each with its entries; return how many reads the city never got.

    Raises:
        ConfigError: There are such reads, and `discard` is not said; nothing was deleted.
        DeviceError: The disk refuses.
    """
    spool, backlog = SpoolReader(unit.spool), read_backlog(unit.send_audit)
    for index, entry in LogReader(unit.watch_audit).follow():
        backlog.note_watched(index, entry)
    unsent = count_unsent(spool, backlog)
    if unsent and not discard:
        message = f"{unsent} reads and crops have not reached the city; send them first with "
        message += "`homeplate send --drain`, or say --discard"
        raise ConfigError(message)

    def note(entry: Entry) -> None:
        audit.append(entry)
        backlog.note_sent(entry)

    forward = ForwardClock(clock, audit.latest_ms)
    deletion = Deletion(
        spool=spool,
        backlog=backlog,
        note=note,
        sign=audit.checkpoint,
        counters=SendCounters(),
        clock=forward,
    )
    deletion.finish()
    deletion.discard()
    if spool.segments():
        message = f"{unit.spool}: the disk did not let go of all segments; call again"
        raise DeviceError(message)
    return unsent


def count_unsent(spool: SpoolReader, backlog: Backlog) -> int:
    """Return how many reads and crops are in the spool without a receipt."""
    total = 0
    for segment in spool.segments():
        key = segment.lane, segment.path.stem
        found = [item for item in spool.frames(segment) if isinstance(item, Found)]
        hashes = tuple(frame_hash(encode_frame(item.frame)) for item in found)
        total += backlog.reads_in(key, backlog.to_upload(key, hashes))
    return total


def make_entry(unit: Unit, *, at_ms: int, reads: int, reason: str) -> Retired:
    """Return the last entry of the log."""
    keys = {f"{name}_key": unit.load_signer(f"{name}.key").public_key.sha256 for name in KEY_NAMES}
    return Retired(at_ms=at_ms, reads=reads, reason=reason[:200], **keys)


def hand_in_or_tell(unit: Unit, statement: Path, offline: Path | None) -> None:
    """Hand the certificate in as `hand_in` does; where that fails, say how far it has come.

    Raises:
        UplinkError, OSError: As `hand_in`.
    """
    try:
        hand_in(unit, statement, offline)
    except UplinkError as error:
        message = (
            f"{error}. Done so far: what was in the spool is destroyed for good, and this unit "
            "collects and sends nothing any more. Not done: its keys are still here, and the city "
            "does not know. Call again when the city is reached, or say --offline FILE"
        )
        raise type(error)(message) from error


def hand_in(unit: Unit, statement: Path, offline: Path | None) -> None:
    """Give the certificate of destruction to the city, or to the technician.

    Raises:
        UplinkError: As `Uplink.exchange`.
        OSError: The technician's file cannot be written.
    """
    content = read_bounded(statement, limit_bytes=STATEMENT_LIMIT_BYTES)
    if offline is not None:
        write_whole(offline, content, mode=0o644)
        return
    timeout_s = unit.settings.uplink.timeout_s
    uplink = Uplink(unit.policy.endpoint, certificate=None, key=None, timeout_s=timeout_s)
    headers = {"Content-Type": "application/cbor"}
    try:
        uplink.exchange("POST", RETIRE_PATH, content, headers=headers, limit_bytes=0)
    finally:
        uplink.close()


def destroy_keys(unit: Unit) -> None:
    """Overwrite and remove keys and certificates; the log's key last: it is what `run` looks for.

    Raises:
        OSError: The disk refuses.
    """
    credentials = [
        unit.credential(name) for name in ("tls.crt", "tls.key", "watch.key", "send.key")
    ]
    for path in (renewed_certificate(unit.settings), *credentials):
        wipe_file(path)
    sync_directory(Path(unit.settings.credentials))


def _require_keys(unit: Unit, papers: Papers) -> None:
    if unit.credential("send.key").exists():
        return
    if papers.handed_in.exists():
        message = f"{unit.settings.unit}: is retired; its certificate is {papers.statement}"
        raise ConfigError(message)
    message = f"{unit.credential('send.key')}: is not there; this unit was never enrolled"
    raise ConfigError(message)


def _require_way(unit: Unit, offline: Path | None) -> None:
    """Refuse to hand the certificate to an endpoint that may be the city's no more."""
    if unit.keeper.is_behind and offline is None:
        message = (
            f"{unit.settings.unit}: its newest policy is gone, so it is not known where the city "
            "is; start `homeplate send` until it is back, or say --offline FILE"
        )
        raise ConfigError(message)


def _tell_plan(unit: Unit, args: argparse.Namespace) -> int:
    segments = SpoolReader(unit.spool).segments()
    size_bytes = sum(segment.size_bytes for segment in segments)
    what = (
        f"{unit.settings.unit}: {len(segments)} segments ({size_bytes:,} bytes) and the keys in "
        f"{unit.settings.credentials} are destroyed for good; the city takes nothing from this "
        "unit any more. The logs stay, they hold no plate"
    )
    if not args.dry_run:
        message = f"{what}; say --yes"
        raise ConfigError(message)
    print(what)
    return 0

"""A unit's whole state, changed in one place at a time: the audit must find every change.

The unit has lived through an outage, an expiry, a quota drop and a power cut that tore its log. One
ended in good order: every change is found. Another crashed: every change is found, or lies in the
seconds before the crash that nobody had signed.
`python -m tests.custody_net.mutations` changes every byte and cuts at every length.
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.audit import CHECKPOINTS, ENTRIES, RecordFile
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli.audit import review_state
from agent.spool import SpoolWriter
from agent.trust.entries import Uploaded, decode_entry, encode_entry
from agent.trust.journal import encode_record
from agent.trust.keys import generate_signer
from agent.trust.notes import UNSIGNED_LIMIT_MS, peek_checkpoint, split_notes
from agent.trust.receipts import peek_receipt, sign_receipt
from tests.audited import BOOT, QUOTA, AuditedUnit, spool_files

UNSIGNED, AT_CITY = "in the unsigned seconds", "of a frame that the city has"
"""Changes that the audit does not find: the first in a stated window, the second without loss."""
TORN = b"\x70\0\0\0torn by a power cut"


def hard_life(folder: Path) -> AuditedUnit:
    """Return a stopped unit that lost power, was offline, let reads expire and ran out of room."""
    unit = _live(folder)
    unit.stop()
    return unit


def crashed_life(folder: Path) -> AuditedUnit:
    """Return such a unit that crashed, a second after its logs were signed."""
    unit = _live(folder)
    unit.next_segment()
    unit.clock.advance(1)
    unit.note_watch = unit.watch.append
    closed = unit.seal(reads=2)
    unit.spool.close()
    unit.drop(3)
    unit.seal(reads=1)
    unit.note_send = unit.send.append
    unit.upload(closed, reads=2)
    unit.crash()
    return unit


def _live(folder: Path) -> AuditedUnit:
    unit = AuditedUnit(folder)
    segments = []
    for reads in (3, 2, 4, 5):
        segments.append(unit.seal(reads=reads))
        unit.next_segment()
    unit.drop(2)
    unit.upload(segments[0], reads=3)
    unit.delete(segments[0], "receipt")
    unit.crash()
    with (unit.state / "audit/watch" / ENTRIES).open("ab") as file:
        file.write(TORN)
    unit.clock.advance(3600)
    unit.watch = unit.open_log("watch", unit.watch_signer)
    unit.send = unit.open_log("send", unit.send_signer)
    unit.spool = SpoolWriter(unit.state / "spool", SpoolSettings(segment_limit_s=60), QUOTA, BOOT)
    unit.delete(segments[1], "expired")
    unit.delete(segments[2], "quota")
    late = unit.seal(reads=6)
    unit.next_segment()
    unit.upload(late, reads=6)
    unit.delete(late, "receipt")
    unit.seal(lane=Lane.HITS, reads=1)
    return unit


@dataclass(frozen=True, slots=True)
class Mutation:
    """One file with other bytes."""

    kind: str
    path: Path
    content: bytes


def mutations(unit: AuditedUnit, *, step: int) -> Iterator[Mutation]:
    """Yield all single changes; `step` = every so many bytes."""
    logs = [unit.state / "audit" / name for name in ("watch", "send")]
    for path in (*(log / ENTRIES for log in logs), *(log / CHECKPOINTS for log in logs)):
        content = path.read_bytes()
        for at in range(0, len(content), step):
            flipped = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            yield Mutation("byte changed", path, flipped)
            yield Mutation("truncated", path, content[:at])
    for log in logs:
        yield from _shuffled("record", log / ENTRIES, _records(log / ENTRIES))
        yield from _shuffled("head", log / CHECKPOINTS, _notes(log / CHECKPOINTS))
    yield from _receipts(unit, logs[1] / ENTRIES)
    for path in spool_files(unit):
        content = path.read_bytes()
        for at in range(0, len(content), step):
            flipped = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
            yield Mutation("byte of the spool changed", path, flipped)
            yield Mutation("spool truncated", path, content[:at])


def _records(path: Path) -> list[bytes]:
    return [encode_record(content) for content in RecordFile(path).follow()]


def _notes(path: Path) -> list[bytes]:
    return [f"{note}\n".encode() for note in split_notes(path.read_text())[0]]


def _shuffled(what: str, path: Path, parts: list[bytes]) -> Iterator[Mutation]:
    for at, part in enumerate(parts):
        yield Mutation(f"{what} dropped", path, b"".join(parts[:at] + parts[at + 1 :]))
        yield Mutation(f"{what} doubled", path, b"".join([*parts[:at], part, *parts[at:]]))
        if at + 1 < len(parts):
            swapped = [*parts[:at], parts[at + 1], part, *parts[at + 2 :]]
            yield Mutation(f"{what}s reordered", path, b"".join(swapped))


def _receipts(unit: AuditedUnit, path: Path) -> Iterator[Mutation]:
    """A unit that lies: each receipt forged, in a log that is otherwise as it was."""
    contents = list(RecordFile(path).follow())
    for at, content in enumerate(contents):
        entry = decode_entry(content)
        if isinstance(entry, Uploaded):
            forged = sign_receipt(generate_signer(), peek_receipt(entry.receipt))
            fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
            changed = encode_entry(Uploaded(**(fields | {"receipt": forged})))
            parts = [*contents[:at], changed, *contents[at + 1 :]]
            yield Mutation("receipt forged", path, b"".join(map(encode_record, parts)))


def review(unit: AuditedUnit):
    """Audit the unit."""
    return review_state(
        unit.state,
        watch_key=unit.watch_signer.public_key,
        send_key=unit.send_signer.public_key,
        city_keys=(unit.receipt_signer.public_key,),
    )


def first_unsigned(path: Path) -> int:
    """Return from which byte of a log's file on nothing holds it: a change there may go unseen.

    In `entries` that is behind the last checkpoint. A checkpoint itself may be taken away, if then
    no more stands unsigned than a crash leaves.
    """
    contents = list(RecordFile(path.parent / ENTRIES).follow())
    notes = _notes(path.parent / CHECKPOINTS)
    sizes = [peek_checkpoint(note.decode()[:-1]).size for note in notes]
    if path.name == ENTRIES:
        return sum(len(encode_record(content)) for content in contents[: sizes[-1]])
    times_ms = [decode_entry(content).at_ms for content in contents]
    limit_ms = UNSIGNED_LIMIT_MS[path.parent.name]
    held = [size for size in sizes if times_ms[-1] - times_ms[size] > limit_ms]
    return sum(map(len, notes[: len(held)]))


def _change_at(before: bytes, after: bytes) -> int:
    """Return the place of the first byte that differs."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(before), len(after)))


def count_detected(
    unit: AuditedUnit, *, step: int, window: bool = False
) -> tuple[Counter[str], list[Mutation]]:
    """Return how many mutations of each kind were found, and those that were not.

    Args:
        unit: To be changed.
        step: Every so many bytes.
        window: Whether the unit crashed: what lies in the unsigned seconds counts by itself.
    """
    found: Counter[str] = Counter()
    missed = []
    logs = [unit.state / "audit" / name for name in ("watch", "send")]
    paths = [log / name for log in logs for name in (ENTRIES, CHECKPOINTS)]
    limits = {path: first_unsigned(path) for path in paths} if window else {}
    sent = map(decode_entry, RecordFile(logs[1] / ENTRIES).follow())
    at_city = {entry.segment for entry in sent if isinstance(entry, Uploaded)}
    for mutation in mutations(unit, step=step):
        before = mutation.path.read_bytes()
        mutation.path.write_bytes(mutation.content)
        if review(unit).passes:
            limit = limits.get(mutation.path, len(before) + 1)
            if mutation.path.stem in at_city:
                found[AT_CITY] += 1
            elif _change_at(before, mutation.content) >= limit:
                found[UNSIGNED] += 1
            else:
                missed.append(mutation)
        else:
            found[mutation.kind] += 1
        mutation.path.write_bytes(before)
    return found, missed


def main() -> None:
    """Try every single change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args()
    for live, window in ((hard_life, False), (crashed_life, True)):
        folder = Path(tempfile.mkdtemp())
        found, missed = count_detected(live(folder), step=args.step, window=window)
        shutil.rmtree(folder)
        told = {"unit": live.__name__, **found, "all": found.total(), "missed": len(missed)}
        print(json.dumps(told, indent=1), flush=True)


if __name__ == "__main__":
    main()

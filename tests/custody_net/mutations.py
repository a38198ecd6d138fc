"""A unit's whole state, changed in one place at a time: the audit must find every change.

The unit has lived through an outage, an expiry, a quota drop and a power cut that tore its log.
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
from agent.trust.notes import split_notes
from agent.trust.receipts import peek_receipt, sign_receipt
from tests.audited import BOOT, QUOTA, AuditedUnit, spool_files

TORN = b"\x70\0\0\0torn by a power cut"


def hard_life(folder: Path) -> AuditedUnit:
    """Return a stopped unit that lost power, was offline, let reads expire and ran out of room."""
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
    unit.stop()
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


def count_detected(unit: AuditedUnit, *, step: int) -> tuple[Counter[str], list[Mutation]]:
    """Return how many mutations of each kind were found, and those that were not."""
    found: Counter[str] = Counter()
    missed = []
    for mutation in mutations(unit, step=step):
        before = mutation.path.read_bytes()
        mutation.path.write_bytes(mutation.content)
        if review(unit).findings:
            found[mutation.kind] += 1
        else:
            missed.append(mutation)
        mutation.path.write_bytes(before)
    return found, missed


def main() -> None:
    """Try every single change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    found, missed = count_detected(hard_life(folder), step=args.step)
    shutil.rmtree(folder)
    print(json.dumps({**found, "all": found.total(), "missed": len(missed)}, indent=1))


if __name__ == "__main__":
    main()

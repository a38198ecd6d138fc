"""A whole day of logs, and how long its audit takes.

`python -m tests.custody_net.day --commits 86400 --batch 30` writes the logs of a unit that commits
so often and uploads so many frames at a time, audits them and prints the CPU time.
"""

import argparse
import json
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from agent.base.lanes import Lane
from agent.cli.audit import review_state
from agent.trust.entries import Boot, Deleted, DeleteIntent, Entry, Sealed, Stop, Uploaded
from agent.trust.entries import encode_entry as encode
from agent.trust.journal import encode_record
from agent.trust.keys import Signer, generate_signer
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, note_hash, sign_checkpoint
from agent.trust.receipts import Receipt, sign_receipt
from agent.trust.signatures import verify_signature

UNIT = "unit-a"
BOOT = b"boot of the unit"
START_MS = 1_780_000_000_000
SEGMENT_FRAMES = 60
"""A segment lasts a minute, with a commit a second."""


class Log:
    """Writes a log as the agent does, without waiting for a disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.origin = folder / "audit" / name, f"homeplate/{UNIT}/{name}"
        self.signer: Signer = generate_signer()
        self.tree, self.previous, self.number = Tree(), NO_NOTE, 0
        self.records: list[bytes] = []
        self.notes: list[str] = []

    def add(self, *entries: Entry) -> None:
        """Append and sign, as one commit."""
        for entry in entries:
            content = encode(entry)
            self.tree.append(leaf_hash(content))
            self.records.append(encode_record(content))
        self.number += 1
        head = Checkpoint(
            origin=self.origin,
            size=self.tree.size,
            root=self.tree.root(),
            number=self.number,
            previous=self.previous,
        )
        note = sign_checkpoint(self.signer, head)
        self.previous = note_hash(note)
        self.notes.append(note)

    def write(self) -> None:
        """Write the files."""
        self.folder.mkdir(parents=True)
        (self.folder / "entries").write_bytes(b"".join(self.records))
        (self.folder / "checkpoints").write_text("".join(f"{note}\n" for note in self.notes))


class Day:
    """A unit's state after so many commits, all uploaded and deleted."""

    def __init__(self, folder: Path, *, commits: int, batch: int) -> None:
        self.folder, self.city = folder, generate_signer()
        self.watch, self.send = Log(folder, "watch"), Log(folder, "send")
        for log in (self.watch, self.send):
            log.add(Boot(at_ms=START_MS, boot=BOOT, version="1", policy_hash=bytes(32)))
        for first in range(0, commits, SEGMENT_FRAMES):
            self._keep_segment(range(first, min(first + SEGMENT_FRAMES, commits)), batch)
        for log in (self.watch, self.send):
            log.add(Stop(at_ms=START_MS, counters={}))
            log.write()
        (folder / "spool").mkdir()

    def _keep_segment(self, numbers: range, batch: int) -> None:
        """Seal, upload and delete one segment."""
        at_ms = START_MS + 1000 * numbers.start
        segment = f"{at_ms}-{BOOT[:4].hex()}-{numbers.start // SEGMENT_FRAMES:06}"
        frames = [sha256(number.to_bytes(8)).digest() for number in numbers]
        for number, frame in zip(numbers, frames, strict=True):
            sealed = Sealed(
                at_ms=START_MS + 1000 * number,
                lane=Lane.READS,
                boot=BOOT,
                first=30 * number,
                last=30 * number + 29,
                frame=frame,
                length=4_000,
                segment=segment,
            )
            self.watch.add(sealed)
        for at in range(0, len(frames), batch):
            self._upload(at_ms, segment, tuple(frames[at : at + batch]))
        why = {"at_ms": at_ms, "lane": Lane.READS, "segment": segment, "reason": "receipt"}
        self.send.add(DeleteIntent(**why, damaged_bytes=0), Deleted(**why))

    def _upload(self, at_ms: int, segment: str, frames: tuple[bytes, ...]) -> None:
        receipt = Receipt(
            unit=UNIT,
            frames=frames,
            log_size=self.watch.tree.size,
            log_root=self.watch.tree.root(),
            time_ms=at_ms,
        )
        self.send.add(
            Uploaded(
                at_ms=at_ms,
                lane=Lane.READS,
                segment=segment,
                reads=30 * len(frames),
                receipt=sign_receipt(self.city, receipt),
            )
        )

    def review(self):
        """Audit it."""
        return review_state(
            self.folder,
            watch_key=self.watch.signer.public_key,
            send_key=self.send.signer.public_key,
            city_keys=(self.city.public_key,),
        )


def _signature_us(signer: Signer) -> float:
    """Return the CPU time of one verification here and now: a measure of the machine."""
    signature, begin_ns = signer.sign(b"text"), time.thread_time_ns()
    for _ in range(2_000):
        verify_signature(signer.public_key, b"text", signature)
    return (time.thread_time_ns() - begin_ns) / 2_000_000


def main() -> None:
    """Print what one audit takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=86_400)
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        day = Day(Path(name) / "state", commits=args.commits, batch=args.batch)
        if args.profile:
            import cProfile  # noqa: PLC0415

            cProfile.runctx("day.review()", {"day": day}, {}, sort="tottime")
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        report = day.review()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        figures = {
            "commits": args.commits,
            "receipts": report.receipts,
            "checkpoints": report.watch.checkpoints + report.send.checkpoints,
            "passes": report.passes,
            "one_signature_us": round(_signature_us(day.city), 1),
            "cpu_s": round(cpu_s, 3),
            "wall_s": round(wall_s, 3),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()

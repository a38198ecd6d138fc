"""A whole day of logs, and how long its audit takes.

`python -m tests.custody_net.day` writes the logs of a unit that kept 1,800 reads a minute and the
picture of each for 24 hours with the default settings, audits them and prints the CPU time.
"""

import argparse
import json
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from agent.base.lanes import Lane
from agent.cli.audit import review_state
from agent.pipeline.keeping import SIGN_INTERVAL_S
from agent.pipeline.send import SIGN_INTERVAL_NS
from agent.trust.entries import Boot, Deleted, DeleteIntent, Entry, Sealed, Stop, Uploaded
from agent.trust.entries import encode_entry as encode
from agent.trust.journal import encode_record
from agent.trust.keys import Signer, generate_signer
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, note_hash, sign_checkpoint
from agent.trust.receipts import NO_RECEIPT, Receipt, receipt_hash, sign_receipt
from agent.trust.signatures import verify_signature

UNIT = "unit-a"
BOOT = b"boot of the unit"
START_MS = 1_780_000_000_000
READS_PER_S = 30
COMMIT_S = 0.867
"""From commit to commit: 0.9 of 1 s, less two camera frames, and one until the first read."""
READS_SEGMENT_S = 60
CROPS_SEGMENT_FRAMES = 10
"""Of 26 pictures of 15 KB each: then the 4 MiB of a segment are full."""
BATCH_S = 30
"""Reads of an open segment are gathered for so long."""
SIGN_S, SENT_SIGN_S = SIGN_INTERVAL_S, SIGN_INTERVAL_NS / 1e9
"""How often the watcher's log is signed, besides when a segment closes; how often the sender's, and
so how often it deletes."""


class Log:
    """Writes a log as the agent does, without waiting for a disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.origin = folder / "audit" / name, f"homeplate/{UNIT}/{name}"
        self.signer: Signer = generate_signer()
        self.tree, self.previous, self.number = Tree(), NO_NOTE, 0
        self.records: list[bytes] = []
        self.notes: list[str] = []

    def add(self, *entries: Entry) -> None:
        """Append."""
        for entry in entries:
            content = encode(entry)
            self.tree.append(leaf_hash(content))
            self.records.append(encode_record(content))

    def sign(self) -> None:
        """Write a checkpoint."""
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


class OpenLane:
    """What a lane has open."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.next = lane, 0
        self.segment = ""
        self.begun_s = self.sent_s = 0.0
        self.stored = 0
        """Frames in the segment."""
        self.waiting: list[tuple[bytes, int]] = []
        """Hash and reads of frames that are not uploaded yet."""


class Day:
    """A unit's state after so many seconds, all uploaded and deleted."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self.folder, self.city, self.last_receipt = folder, generate_signer(), NO_RECEIPT
        self.watch, self.send = Log(folder, "watch"), Log(folder, "send")
        self.reads, self.crops = OpenLane(Lane.READS), OpenLane(Lane.CROPS)
        self.segments, self.now_s, self.signed_s, self.sent_signed_s = 0, 0.0, 0.0, 0.0
        self.closed: list[tuple[OpenLane, str, list[tuple[bytes, int]]]] = []
        """Segments that wait for the log to be signed: lane, name, what is not uploaded."""
        self.settled: list[tuple[Lane, str]] = []
        """Segments that the city has and that wait to be deleted."""
        for log in (self.watch, self.send):
            log.add(Boot(at_ms=START_MS, boot=BOOT, version="1", policy_hash=bytes(32)))
            log.sign()
        done = 0
        while self.now_s < seconds:
            self.now_s += COMMIT_S
            count, done = int(self.now_s * READS_PER_S) - done, int(self.now_s * READS_PER_S)
            self._commit(count)
        self.closed += [(lane, lane.segment, lane.waiting) for lane in (self.reads, self.crops)]
        self._send_closed()
        self._delete()
        for log in (self.watch, self.send):
            log.add(Stop(at_ms=self._now_ms(), counters={}))
            log.sign()
            log.write()
        (folder / "spool").mkdir()

    def _now_ms(self) -> int:
        return START_MS + int(1000 * self.now_s)

    def _commit(self, reads: int) -> None:
        """Keep a commit's reads and their pictures, let the sender do what is due."""
        full = [
            lane
            for lane, is_full in (
                (self.reads, self.now_s - self.reads.begun_s >= READS_SEGMENT_S),
                (self.crops, self.crops.stored >= CROPS_SEGMENT_FRAMES),
            )
            if is_full
        ]
        closed = [(lane, lane.segment, lane.waiting) for lane in full if lane.segment]
        for lane in (self.reads, self.crops):
            if lane in full or not lane.segment:
                self._begin(lane)
            self._keep(lane, reads)
        self.closed += closed
        waited_s = self.now_s - self.signed_s
        if waited_s >= SIGN_S or closed:
            self._send_closed()
        if self.now_s - self.reads.sent_s >= BATCH_S:
            self._upload(self.reads, self.reads.segment, self.reads.waiting)
            self.reads.waiting, self.reads.sent_s = [], self.now_s

    def _send_closed(self) -> None:
        """Sign; then the sender may take what was closed."""
        self.watch.sign()
        for lane, segment, waiting in self.closed:
            self._upload(lane, segment, waiting)
            self.settled.append((lane.lane, segment))
        self.closed, self.signed_s = [], self.now_s
        if self.now_s - self.sent_signed_s >= SENT_SIGN_S:
            self._delete()

    def _delete(self) -> None:
        """Announce what is settled, sign, report it deleted."""
        why = [
            {"at_ms": self._now_ms(), "lane": lane, "segment": segment, "reason": "receipt"}
            for lane, segment in self.settled
        ]
        self.send.add(*(DeleteIntent(**fields, damaged_bytes=0) for fields in why))
        self.send.sign()
        self.send.add(*(Deleted(**fields) for fields in why))
        self.settled, self.sent_signed_s = [], self.now_s

    def _begin(self, lane: OpenLane) -> None:
        lane.segment = f"{self._now_ms()}-{BOOT[:4].hex()}-{self.segments % 1_000_000:06}"
        self.segments += 1
        lane.begun_s, lane.sent_s, lane.stored, lane.waiting = self.now_s, self.now_s, 0, []

    def _keep(self, lane: OpenLane, reads: int) -> None:
        frame = sha256(f"{lane.lane} {lane.next}".encode()).digest()
        self.watch.add(
            Sealed(
                at_ms=self._now_ms(),
                lane=lane.lane,
                boot=BOOT,
                first=lane.next,
                last=lane.next + reads - 1,
                frame=frame,
                length=1_880 if lane.lane is Lane.READS else 15_360 * reads,
                segment=lane.segment,
            )
        )
        lane.next += reads
        lane.stored += 1
        lane.waiting.append((frame, reads))

    def _upload(self, lane: OpenLane, segment: str, frames: list[tuple[bytes, int]]) -> None:
        if not frames:
            return
        receipt = Receipt(
            unit=UNIT,
            frames=tuple(frame for frame, _ in frames),
            log_size=self.watch.tree.size,
            log_root=self.watch.tree.root(),
            time_ms=self._now_ms(),
            previous=self.last_receipt,
        )
        signed = sign_receipt(self.city, receipt)
        self.last_receipt = receipt_hash(signed)
        self.send.add(
            Uploaded(
                at_ms=self._now_ms(),
                lane=lane.lane,
                segment=segment,
                reads=sum(reads for _, reads in frames),
                receipt=signed,
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


def _sizes(day: Day):
    return (path.stat().st_size for path in (day.folder / "audit").rglob("*") if path.is_file())


def _signature_us(signer: Signer) -> float:
    """Return the CPU time of one verification here and now: a measure of the machine."""
    signature, begin_ns = signer.sign(b"text"), time.thread_time_ns()
    for _ in range(2_000):
        verify_signature(signer.public_key, b"text", signature)
    return (time.thread_time_ns() - begin_ns) / 2_000_000


def main() -> None:
    """Print what one audit takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        day = Day(Path(name) / "state", seconds=args.hours * 3600)
        if args.profile:
            import cProfile  # noqa: PLC0415

            cProfile.runctx("day.review()", {"day": day}, {}, sort="tottime")
        taken_s = []
        for _ in range(args.times):
            begin_s = time.process_time()
            report = day.review()
            taken_s.append(time.process_time() - begin_s)
        figures = {
            "hours": args.hours,
            "reads": sum(lane.recorded for lane in report.lanes if lane.lane is Lane.READS),
            "entries": report.watch.size + report.send.size,
            "log_megabytes": round(sum(_sizes(day)) / 1e6, 1),
            "receipts": report.receipts,
            "checkpoints": report.watch.checkpoints + report.send.checkpoints,
            "passes": report.passes,
            "one_signature_us": round(_signature_us(day.city), 1),
            "cpu_s": [round(taken, 3) for taken in sorted(taken_s)],
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()

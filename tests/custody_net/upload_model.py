"""Simulated uploads with a fault at every arrow between sender and endpoint.

The sender is the real one (`Sending`, `AuditLog`, `SpoolReader`) on a disk in memory; the
endpoint is the real intake over a storage in memory, which a test holds against the real storage.
Between any two of their steps the request or its answer may be lost, doubled, late or old, either
side may be killed, and the batches may come in another order.

`python -m tests.custody_net.upload_model --uploads 100000` is the long run.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from homeplate_endpoint.intake import Intake, RefusalError
from homeplate_endpoint.store import ForkError

from agent.audit import AuditLog, LogReader, read_backlog
from agent.base.clock import to_ms
from agent.base.errors import RefusedError, UplinkError
from agent.base.lanes import Lane
from agent.cli.audit import review_state
from agent.cli.audit_report import Report
from agent.pipeline.send import Sending, Terms
from agent.pipeline.turns import take_turns
from agent.spool import SpoolReader
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.entries import Boot, Sealed, Stop
from agent.trust.frames import Found, SealedFrame, encode_frame, frame_hash
from agent.trust.header import NO_FRAME, FrameHeader
from agent.trust.keys import generate_signer
from agent.trust.receipts import NO_RECEIPT, receipt_hash
from agent.trust.uploads import Upload, encode_upload, idempotency_key
from tests.fakes import FakeClock

UNIT: Final = "unit-a"
BOOT: Final = b"boot of the unit"
DAY_S: Final = 86_400
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a disk in memory, where there is one


class Killed(BaseException):  # not an error: the process is gone
    """The sender was killed here."""


@dataclass
class MemoryStore:
    """The endpoint's storage in memory: what was stored, once each, and what was promised."""

    frames: dict[tuple[str, bytes, int, int], tuple[int, bytes, bytes]] = field(
        default_factory=dict
    )
    """Unit, boot, lane, first → last, hash, content."""
    firsts: dict[tuple[str, bytes, int], list[int]] = field(default_factory=dict)
    """Sorted."""
    arrived: list[bytes] = field(default_factory=list)
    """Hashes of all frames in the order they were stored: one too many would show here."""
    receipts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    last: dict[str, bytes] = field(default_factory=dict)
    """Hash of the receipt made last, by unit."""
    heads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)

    def receipt(self, unit, key):
        return self.receipts.get((unit, key))

    def head(self, unit):
        heads = self.heads.get(unit)
        return max(heads.items()) if heads else None

    def root_at(self, unit, size):
        return self.heads.get(unit, {}).get(size)

    def add(self, frames, head, note, *, key, time_ms, sign):
        fresh = [frame for frame in frames if not self._is_known(frame)]
        unit = frames[0].header.unit
        receipt = sign(self.last.get(unit, NO_RECEIPT))
        self.last[unit] = receipt_hash(receipt)
        for frame in fresh:
            place = (unit, frame.header.boot, int(frame.header.lane), frame.header.first_sequence)
            self.frames[place] = (frame.header.last_sequence, frame.sha256, frame.content)
            insort(self.firsts.setdefault(place[:3], []), place[3])
            self.arrived.append(frame.sha256)
        self.heads.setdefault(unit, {}).setdefault(head.size, head.root)
        self.receipts[unit, key] = receipt
        return receipt

    def alarm(self, unit, kind, detail, *, time_ms):
        self.alarms.append(kind)

    def _is_known(self, frame):
        header = frame.header
        owner = (header.unit, header.boot, int(header.lane))
        firsts = self.firsts.get(owner, [])
        at = bisect_right(firsts, header.last_sequence) - 1
        if at < 0:
            return False
        last, sha256, _ = self.frames[*owner, firsts[at]]
        if sha256 != frame.sha256 and last >= header.first_sequence:
            raise ForkError("another frame is stored there")
        return sha256 == frame.sha256


WAYS: Final = (
    "request lost",
    "answer lost",
    "endpoint restarts before fsync",
    "endpoint restarts after fsync",
    "sender killed before the request",
    "sender killed before the answer",
    "request doubled",
    "old request arrives again",
    "old receipt replayed",
)
"""What may happen to a delivery."""
KILLS: Final = (
    "before Uploaded",
    "after Uploaded",
    "before DeleteIntent",
    "after DeleteIntent",
    "after unlink",
    "before Deleted",
    "after Deleted",
)
"""Between which steps the sender may be killed."""


class Faults:
    """Draws what goes wrong next, and counts it."""

    def __init__(self, chance: random.Random, *, share: float) -> None:
        self.chance, self.share = chance, share
        self.seen: Counter[str] = Counter()

    def draw(self, *names: str) -> str:
        """Return one of the faults, or nothing."""
        if self.chance.random() >= self.share:
            return ""
        name = self.chance.choice(names)
        self.seen[name] += 1
        return name

    def maybe_kill(self, place: str) -> None:
        """Kill the sender here, or not."""
        if self.chance.random() < self.share / 4:
            self.seen[place] += 1
            raise Killed(place)


class City:
    """The network and the endpoint: a `Collector` for the sender."""

    def __init__(self, store, watch_key, clock, faults: Faults) -> None:
        self.store, self.faults = store, faults
        self.signer = generate_signer()
        self.intake = Intake(
            store=store,
            watch_keys={UNIT: watch_key},
            signer=self.signer,
            clock=clock,
            raise_alarm=lambda *_: None,
        )
        self.uploads = 0
        self.old: list[tuple[str, bytes]] = []
        self.old_receipts: list[bytes] = []

    def deliver(self, upload: Upload) -> UnverifiedReceipt | LogPosition:
        """Carry one upload over, with whatever goes wrong on the way."""
        self.uploads += 1
        key, body = idempotency_key(upload.frames), encode_upload(upload)
        fault = self.faults.draw(*WAYS)
        if fault in {"request lost", "endpoint restarts before fsync"}:
            raise UplinkError(fault)
        if fault == "sender killed before the request":
            raise Killed(fault)
        if fault == "old request arrives again" and self.old:
            self._try(*self.faults.chance.choice(self.old))
        answer = self._receive(key, body)
        self.old.append((key, body))
        self.old[:-20] = []
        if fault == "request doubled" and isinstance(answer, UnverifiedReceipt):
            assert self._receive(key, body) == answer
        if fault in {"answer lost", "endpoint restarts after fsync"}:
            raise UplinkError(fault)
        if fault == "sender killed before the answer":
            raise Killed(fault)
        if fault == "old receipt replayed" and self.old_receipts:
            return UnverifiedReceipt(self.faults.chance.choice(self.old_receipts))
        return answer

    def _receive(self, key: str, body: bytes) -> UnverifiedReceipt | LogPosition:
        try:
            signed = self.intake.receive(UNIT, key, body)
        except RefusalError as error:
            if error.known_size is not None:
                return LogPosition(error.known_size)
            raise RefusedError(error.detail) from error
        self.old_receipts.append(signed)
        self.old_receipts[:-20] = []
        return UnverifiedReceipt(signed)

    def _try(self, key: str, body: bytes) -> None:
        """Let an old request arrive; nobody waits for its answer. A fork would be an alarm."""
        with suppress(RefusalError):
            self.intake.receive(UNIT, key, body)


class KillableLog(AuditLog):
    """The sender's log; the process may be killed before or after each entry."""

    faults: Faults

    def append(self, entry):
        name = type(entry).__name__
        if f"before {name}" in KILLS:
            self.faults.maybe_kill(f"before {name}")
        index = super().append(entry)
        if f"after {name}" in KILLS:
            self.faults.maybe_kill(f"after {name}")
        return index


class WitnessedSpool(SpoolReader):
    """The spool; at every deletion it is asked whether the city has what goes."""

    faults: Faults
    store: MemoryStore
    lost = 0
    deletions = 0

    def segments(self):
        found = super().segments()
        if self.faults.draw("reordered batches"):
            found = tuple(self.faults.chance.sample(found, len(found)))
        return tuple(take_turns(found))

    def delete(self, segment):
        stored = set(self.store.arrived)
        frames = [item.frame for item in self.frames(segment) if isinstance(item, Found)]
        self.lost += sum(frame_hash(encode_frame(frame)) not in stored for frame in frames)
        self.deletions += 1
        super().delete(segment)
        self.faults.maybe_kill("after unlink")


class World:
    """One unit and its city, until the unit has sent everything."""

    retention_s = DAY_S
    quota_bytes = 1 << 30

    def __init__(self, folder: Path, seed: int, *, share: float = 0.3) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        folder.mkdir(exist_ok=True)
        self.clock = FakeClock()
        self.faults = Faults(self.chance, share=share)
        self.watch_key, self.send_key = generate_signer(), generate_signer()
        self.store = MemoryStore()
        self.city = City(self.store, self.watch_key.public_key, self.clock, self.faults)
        self.watch = AuditLog(
            folder / "audit/watch", self.watch_key, f"homeplate/{UNIT}/watch", self.clock
        )
        self.watch.append(
            Boot(at_ms=to_ms(self.clock.now()), boot=BOOT, version="1", policy_hash=bytes(32))
        )
        self.sealed: list[bytes] = []
        self.next = dict.fromkeys(Lane, 0)
        self.segments = self.restarts = 0
        for lane in Lane:
            (folder / "spool" / lane.label).mkdir(parents=True)
        self.spool = WitnessedSpool(folder / "spool")
        self.spool.faults, self.spool.store = self.faults, self.store
        self.start()

    def start(self) -> None:
        """Start the sender from what is on the disk."""
        origin = f"homeplate/{UNIT}/send"
        self.audit = KillableLog(self.folder / "audit/send", self.send_key, origin, self.clock)
        self.audit.faults = self.faults
        backlog = read_backlog(self.folder / "audit/send")
        self.sending = Sending(
            terms=Terms(
                unit=UNIT,
                receipt_keys=(self.city.signer.public_key,),
                retention_s=dict.fromkeys(Lane, self.retention_s),
                quota_bytes=dict.fromkeys(Lane, self.quota_bytes),
            ),
            spool=self.spool,
            watched=LogReader(self.folder / "audit/watch"),
            backlog=backlog,
            uplink=self.city,
            audit=self.audit,
            clock=self.clock,
        )

    def keep(self) -> None:
        """Let the watcher finish a segment of one to four frames."""
        lane, at_ms = self.chance.choice(list(Lane)), to_ms(self.clock.now())
        name = f"{at_ms:013}-{BOOT[:4].hex()}-{self.segments:06}"
        self.segments += 1
        contents, entries = [], []
        for _ in range(self.chance.randint(1, 4)):
            first, reads = self.next[lane], self.chance.randint(1, 3)
            self.next[lane] += reads
            content = _frame(lane, first, first + reads - 1, at_ms)
            contents.append(content)
            self.sealed.append(frame_hash(content))
            entries.append(
                Sealed(
                    at_ms=at_ms,
                    lane=lane,
                    boot=BOOT,
                    first=first,
                    last=first + reads - 1,
                    frame=frame_hash(content),
                    length=len(content),
                    segment=name,
                )
            )
        (self.folder / "spool" / lane.label / f"{name}.seg").write_bytes(b"".join(contents))
        self.watch.append_all(entries)
        self.watch.checkpoint()
        self.clock.advance(60)

    def work(self) -> None:
        """Let the sender do a round; when it is killed, start it again."""
        try:
            self.sending.work()
        except UplinkError:
            pass
        except Killed:
            self.restarts += 1
            self.audit._release()  # as the descriptors of a killed process are
            self.start()

    def live(self, rounds: int) -> None:
        """Keep and send under faults, then send the rest without."""
        for _ in range(rounds):
            for _ in range(self.chance.randint(0, 3)):
                self.keep()
            self.work()
        self.faults.share = 0.0
        for _ in range(3):
            self.clock.advance(30)
            self.work()

    def check(self) -> None:
        """Nothing lost, nothing doubled, nothing left, everything accounted for."""
        assert sorted(self.store.arrived) == sorted(self.sealed)
        assert self.spool.lost == 0
        assert all(lane.recorded == lane.uploaded for lane in self.audit_all().lanes)

    def audit_all(self) -> Report:
        """End both processes and return the auditor's report, which finds nothing."""
        assert self.spool.segments() == ()
        assert self.store.alarms == []
        for log in (self.watch, self.audit):
            log.append(Stop(at_ms=to_ms(self.clock.now()), counters={}))
            log.close()
        report = review_state(
            self.folder,
            watch_key=self.watch_key.public_key,
            send_key=self.send_key.public_key,
            city_keys=(self.city.signer.public_key,),
        )
        assert report.findings == ()
        return report


def _frame(lane: Lane, first: int, last: int, at_ms: int) -> bytes:
    header = FrameHeader(
        suite="P256-HKDF-SHA256-AES256GCM",
        key_id=b"city key",
        unit=UNIT,
        boot=BOOT,
        lane=lane,
        first_sequence=first,
        last_sequence=last,
        first_ms=at_ms,
        last_ms=at_ms,
        policy_sha256=bytes(32),
        model_sha256=bytes(32),
        previous_sha256=NO_FRAME,
    )
    return encode_frame(SealedFrame(header=header, sealed=b"sealed"))


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Give a folder, in memory where the machine has such a place."""
    root = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(dir=root, prefix="custody-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def simulate(uploads: int, *, seed: int, tell: Callable[[int], None] = lambda _: None) -> Counter:
    """Run worlds until so many uploads were simulated; return what was counted.

    Raises:
        AssertionError: A frame was lost or doubled; the message of pytest names the seed.
    """
    counts: Counter[str] = Counter()
    while counts["uploads"] < uploads:
        with memory_folder() as folder:
            world = World(folder / "state", seed + counts["worlds"])
            world.live(rounds=40)
            world.check()
        counts["worlds"] += 1
        counts["uploads"] += world.city.uploads
        counts["frames"] += len(world.sealed)
        counts["restarts of the sender"] += world.restarts
        counts["deletions"] += world.spool.deletions
        counts.update(world.faults.seen)
        tell(counts["uploads"])
    return counts


def main() -> None:
    """Run it and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started_s = time.process_time()
    counts = simulate(args.uploads, seed=args.seed)
    counts["lost"] = counts["doubled"] = 0  # else `check` had raised
    print(json.dumps({**counts, "cpu_s": round(time.process_time() - started_s, 1)}, indent=1))


if __name__ == "__main__":
    main()

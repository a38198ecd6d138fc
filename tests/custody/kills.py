"""Kills a watcher and a sender, two real processes on a real disk, again and again.

    python -m tests.custody.kills --kills 500 --state FOLDER

Both run the agent's own code: reads are sealed, spooled, logged, uploaded to a city that lives in
a folder, receipted, deleted. At random moments one of them gets SIGKILL and is started again. At
the end the rest is uploaded and everything is compared. Prints one JSON object.
"""

import argparse
import json
import logging
import os
import random
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.audit import AuditLog, LogReader, RecordFile, read_backlog
from agent.base.clock import SystemClock, to_ms
from agent.base.errors import HomeplateError, UplinkError
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli.audit import review_state
from agent.gate import GateRules
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.keeping import Keeping, Rules
from agent.pipeline.send import Sending, Terms
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.entries import Boot, Sealed, decode_entry
from agent.trust.frames import frame_hash, parse_frame
from agent.trust.keys import Signer, generate_opener, generate_signer
from agent.trust.notes import peek_checkpoint
from agent.trust.receipts import Receipt, sign_receipt
from tests.sealing import plate_read

QUOTA = dict.fromkeys(Lane, 1 << 30)
DAY_S = dict.fromkeys(Lane, 86_400)
LIMITS = SpoolSettings(segment_limit_bytes=65_536, segment_limit_s=1)


@dataclass
class Keys:
    watch: Signer
    send: Signer
    receipts: Signer
    city: object


def make_keys() -> Keys:
    """Draw the keys of a unit and its city."""
    return Keys(generate_signer(), generate_signer(), generate_signer(), generate_opener())


class FolderCity:
    """A city whose memory is a folder, so that it outlives the sender that is killed."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder, self.keys = folder, keys
        folder.mkdir(exist_ok=True)

    def deliver(self, upload):
        known = self.folder / "known"
        known_size = int(known.read_text()) if known.exists() else 0
        if upload.previous_size != known_size:
            return LogPosition(known_size)
        head = peek_checkpoint(upload.checkpoint)
        for frame in upload.frames:
            self._put(frame_hash(frame).hex(), frame)
        self._put("known", str(head.size).encode())
        if secrets.randbelow(10) == 0:
            raise UplinkError("the answer was lost")
        receipt = Receipt(
            unit="u",
            frames=tuple(frame_hash(frame) for frame in upload.frames),
            log_size=head.size,
            log_root=head.root,
            time_ms=int(time.time() * 1000),
        )
        return UnverifiedReceipt(sign_receipt(self.keys.receipts, receipt))

    def _put(self, name: str, content: bytes) -> None:
        (self.folder / ".new").write_bytes(content)
        (self.folder / ".new").replace(self.folder / name)

    def frames(self) -> dict[bytes, bytes]:
        names = (path for path in self.folder.iterdir() if len(path.name) == 64)
        return {bytes.fromhex(path.name): path.read_bytes() for path in names}


class TellingWriter(SpoolWriter):
    """Writes each acknowledged frame's hash to a pipe once `put` has returned."""

    told = -1

    def put(self, lane, content, now):
        segment = super().put(lane, content, now)
        os.write(self.told, frame_hash(content).hex().encode() + b"\n")
        return segment


def open_log(state: Path, name: str, signer: Signer) -> AuditLog:
    return AuditLog(state / "audit" / name, signer, f"homeplate/u/{name}", SystemClock())


def watch(state: Path, keys: Keys, told: int, *, rounds: int = 1 << 40) -> None:
    clock, boot = SystemClock(), secrets.token_bytes(16)
    audit = open_log(state, "watch", keys.watch)
    spool = TellingWriter(state / "spool", LIMITS, QUOTA, boot)
    spool.told = told
    spooled = SpoolReader(state / "spool")
    spool.recover(lambda found: adopt_leftovers(found, spooled, audit, clock))
    audit.append(Boot(at_ms=to_ms(clock.now()), boot=boot, version="0", policy_hash=bytes(32)))
    audit.checkpoint()
    keeping = Keeping(
        rules=Rules(
            gate=GateRules(mode="all", min_hit_confidence=0.9, min_hit_frames=2),
            crops="all",
            retention_s=DAY_S,
            expires_at=datetime(2100, 1, 1, tzinfo=UTC),
            commit_interval_s=0.005,
        ),
        boot=boot,
        sealer=Sealer(
            city_key=keys.city.public_key,
            policy_sha256=bytes(32),
            unit="u",
            boot=boot,
            model_sha256=bytes(32),
        ),
        spool=spool,
        spooled=SpoolReader(state / "spool"),
        audit=audit,
        clock=clock,
    )
    for number in range(rounds):
        keeping.take((plate_read(number, crop_jpeg=b"\xff\xd8" + bytes(2000)),))
        time.sleep(0.006)
        keeping.commit()
    keeping.close()


def make_sending(state: Path, keys: Keys, city: FolderCity) -> Sending:
    clock = SystemClock()
    audit = open_log(state, "send", keys.send)
    backlog = read_backlog(state / "audit/send")
    boot = secrets.token_bytes(16)
    audit.append(Boot(at_ms=to_ms(clock.now()), boot=boot, version="0", policy_hash=bytes(32)))
    return Sending(
        terms=Terms(
            unit="u",
            receipt_keys=(keys.receipts.public_key,),
            retention_s=DAY_S,
            quota_bytes=QUOTA,
        ),
        spool=SpoolReader(state / "spool"),
        watched=LogReader(state / "audit/watch"),
        backlog=backlog,
        uplink=city,
        audit=audit,
        clock=clock,
    )


def send(state: Path, keys: Keys, city: FolderCity) -> None:
    sending = make_sending(state, keys, city)
    while True:
        try:
            sending.work()
        except UplinkError:
            time.sleep(0.001)


class Service:
    """A process that does `work` until it is killed, and is started again."""

    def __init__(self, work) -> None:
        self.work = work
        self.start()

    def start(self) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self.work()
            except HomeplateError as error:
                code = error.exit_code
                sys.stderr.write(f"child: {error!r}\n")
            except BaseException as error:  # noqa: BLE001  a child must never come back from here
                sys.stderr.write(f"child: {error!r}\n")
            os._exit(code)

    def kill(self) -> None:
        if self.end() >= 0:
            raise SystemExit("a service ended by itself; its error stands above")

    def end(self) -> int:
        """Kill it and return its exit code, below 0 where it was the kill that ended it."""
        os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def run_kills(state: Path, kills: int, seed: int) -> dict[str, int]:
    """Return what was acknowledged, kept and lost."""
    rng = random.Random(seed)
    keys = make_keys()
    city = FolderCity(state / "city", keys)
    acknowledged = state / "acknowledged"
    told = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    services = (
        Service(lambda: watch(state, keys, told)),
        Service(lambda: send(state, keys, city)),
    )
    for _ in range(kills):
        time.sleep(rng.choice((0.002, 0.02, 0.1, 0.2)) * rng.random())
        service = rng.choice(services)
        service.kill()
        service.start()
    for service in services:
        service.kill()
    watch(state, keys, told, rounds=1)
    drain(make_sending(state, keys, city))
    return compare(state, keys, city, acknowledged) | {"kills": kills + len(services)}


def drain(sending: Sending) -> None:
    for _ in range(1000):
        try:
            sending.work()
        except UplinkError:
            continue
        if sending.is_drained():
            break
    sending.close()


def compare(state: Path, keys: Keys, city: FolderCity, acknowledged: Path) -> dict[str, int]:
    """Hold what was acknowledged against what the city has and the logs say."""
    wanted = {bytes.fromhex(line) for line in acknowledged.read_text().split()}
    kept = city.frames()
    sequences = [
        (header.boot, header.lane, number)
        for header in (parse_frame(content).header for content in kept.values())
        for number in range(header.first_sequence, header.last_sequence + 1)
    ]
    entries = map(decode_entry, RecordFile(state / "audit/watch/entries").follow())
    report = review_state(
        state,
        watch_key=keys.watch.public_key,
        send_key=keys.send.public_key,
        city_keys=(keys.receipts.public_key,),
    )
    for finding in report.faults:
        sys.stderr.write(f"{finding.reason}: {finding.detail}\n")
    return {
        "acknowledged": len(wanted),
        "sealed": sum(isinstance(entry, Sealed) for entry in entries),
        "at_city": len(kept),
        "lost": len(wanted - kept.keys()),
        "altered": sum(frame_hash(content) != sha256 for sha256, content in kept.items()),
        "doubled": len(sequences) - len(set(sequences)),
        "left_in_spool": len(SpoolReader(state / "spool").segments()),
        "findings": len(report.faults),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, required=True, help="an empty folder")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(run_kills(args.state, args.kills, args.seed)) + "\n")


if __name__ == "__main__":
    main()

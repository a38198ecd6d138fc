"""A unit whose whole story is known: real spool, real logs, receipts signed by a real key."""

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from agent.audit import AuditLog
from agent.base.clock import to_ms
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.bundle_files import Bundle, encode_bundle
from agent.trust.entries import Boot, Deleted, DeleteIntent, Dropped, Entry, Sealed, Stop, Uploaded
from agent.trust.frames import SealedFrame, encode_frame, frame_hash
from agent.trust.header import NO_FRAME, FrameHeader
from agent.trust.keys import Signer, generate_signer
from agent.trust.receipts import Receipt, sign_receipt
from tests.fakes import NOON, FakeClock
from tests.policies import draft, first_root

UNIT = "unit-a"
BOOT = b"boot of the unit"
QUOTA = dict.fromkeys(Lane, 1 << 30)
SEND_BOOT = b"boot of the send"


def frame_bytes(
    *,
    first: int,
    last: int,
    lane: Lane = Lane.READS,
    unit: str = UNIT,
    boot: bytes = BOOT,
    sealed: bytes = b"sealed",
) -> bytes:
    """Return a frame; what is sealed in it does not matter here."""
    header = FrameHeader(
        suite="P256-HKDF-SHA256-AES256GCM",
        key_id=b"city key",
        unit=unit,
        boot=boot,
        lane=lane,
        first_sequence=first,
        last_sequence=last,
        first_ms=to_ms(NOON),
        last_ms=to_ms(NOON),
        policy_sha256=bytes(32),
        model_sha256=bytes(32),
        previous_sha256=NO_FRAME,
    )
    return encode_frame(SealedFrame(header=header, sealed=sealed))


@dataclass
class AuditedUnit:
    """Does by hand what watcher and sender do."""

    folder: Path
    watch_signer: Signer = field(default_factory=generate_signer)
    send_signer: Signer = field(default_factory=generate_signer)
    receipt_signer: Signer = field(default_factory=generate_signer)
    clock: FakeClock = field(default_factory=FakeClock)
    hashes: dict[str, list[bytes]] = field(default_factory=dict)
    """Of the frames, by segment."""
    sequences: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))

    def __post_init__(self) -> None:
        """Start both processes."""
        self.state.mkdir()
        self.watch = self.open_log("watch", self.watch_signer)
        self.send = self.open_log("send", self.send_signer)
        settings = SpoolSettings(segment_limit_s=60)
        self.spool = SpoolWriter(self.state / "spool", settings, QUOTA, BOOT)
        self.spool.recover()
        for log, boot in ((self.watch, BOOT), (self.send, SEND_BOOT)):
            log.append(Boot(at_ms=self.now_ms(), boot=boot, version="1", policy_hash=bytes(32)))

    @property
    def state(self) -> Path:
        """The unit's state folder."""
        return self.folder / "state"

    def now_ms(self) -> int:
        """Tell the time."""
        return to_ms(self.clock.now())

    def open_log(self, name: str, signer: Signer) -> AuditLog:
        """Open one of the unit's logs."""
        directory = self.state / "audit" / name
        return AuditLog(directory, signer, f"homeplate/{UNIT}/{name}", self.clock)

    def note_watch(self, entry: Entry) -> None:
        """Append to the watcher's log and sign."""
        self.watch.append(entry)
        self.watch.checkpoint()

    def note_send(self, entry: Entry) -> None:
        """Append to the sender's log and sign."""
        self.send.append(entry)
        self.send.checkpoint()

    def seal(self, *, reads: int = 3, lane: Lane = Lane.READS) -> str:
        """Store and log one frame and return its segment's name."""
        first = self.sequences[lane]
        self.sequences[lane] += reads
        content = frame_bytes(first=first, last=first + reads - 1, lane=lane)
        segment = self.spool.put(lane, content, self.clock.now())
        self.hashes.setdefault(segment, []).append(frame_hash(content))
        self.note_watch(
            Sealed(
                at_ms=self.now_ms(),
                lane=lane,
                boot=BOOT,
                first=first,
                last=first + reads - 1,
                frame=frame_hash(content),
                length=len(content),
                segment=segment,
            )
        )
        return segment

    def next_segment(self) -> None:
        """Let the present segments grow too old."""
        self.clock.advance(61)
        self.spool.roll_aged(self.clock.now())

    def drop(self, count: int) -> None:
        """Lose reads before they were sealed, and say so."""
        first = self.sequences[Lane.READS]
        self.sequences[Lane.READS] += count
        self.note_watch(
            Dropped(
                at_ms=self.now_ms(),
                lane=Lane.READS,
                boot=BOOT,
                first=first,
                count=count,
                reason="quota",
            )
        )

    def receipt(self, frames: tuple[bytes, ...], *, signer: Signer | None = None) -> bytes:
        """Return the city's receipt for frames under the present head."""
        receipt = Receipt(
            unit=UNIT,
            frames=frames,
            log_size=self.watch.size,
            log_root=self.watch.root(),
            time_ms=self.now_ms(),
        )
        return sign_receipt(signer or self.receipt_signer, receipt)

    def upload(self, segment: str, *, reads: int, receipt: bytes = b"") -> None:
        """Log the upload of a segment's frames."""
        frames = tuple(self.hashes[segment])
        self.note_send(
            Uploaded(
                at_ms=self.now_ms(),
                lane=Lane.READS,
                segment=segment,
                reads=reads,
                receipt=receipt or self.receipt(frames),
            )
        )

    def delete(self, segment: str, reason: str, *, damaged_bytes: int = 0) -> None:
        """Announce, delete, report."""
        self.note_send(
            DeleteIntent(
                at_ms=self.now_ms(),
                lane=Lane.READS,
                segment=segment,
                reason=reason,
                damaged_bytes=damaged_bytes,
            )
        )
        (self.state / "spool/reads" / f"{segment}.seg").unlink()
        self.note_send(
            Deleted(at_ms=self.now_ms(), lane=Lane.READS, segment=segment, reason=reason)
        )

    def stop(self) -> None:
        """End both processes in good order."""
        self.spool.close()
        for log in (self.watch, self.send):
            log.append(Stop(at_ms=self.now_ms(), counters={"reads": 1}))
            log.close()

    def crash(self) -> None:
        """End both processes as kill -9 would."""
        for log in (self.watch, self.send):
            log._entries.close()

    def arguments(self) -> list[str]:
        """Return the arguments of `homeplate` that audit this unit."""
        files = {
            "--root": first_root(),
            "--policy": encode_bundle(self.policy()),
            "--watch-key": self.watch_signer.public_spki,
            "--send-key": self.send_signer.public_spki,
        }
        arguments = ["audit", "verify", str(self.state)]
        for name, content in files.items():
            path = self.folder / name.strip("-")
            path.write_bytes(content)
            arguments += [name, str(path)]
        return arguments

    def policy(self) -> Bundle:
        """Return the city's policy of the time, as two offices signed it."""
        key = b64encode(self.receipt_signer.public_spki).decode()
        return draft(1, receipt_keys=[key]).signed()


def whole_story(folder: Path) -> AuditedUnit:
    """Return a stopped unit that has uploaded, expired, dropped and kept reads."""
    unit = AuditedUnit(folder)
    uploaded = [unit.seal(), unit.seal()][0]
    unit.next_segment()
    expired = unit.seal(reads=2)
    unit.next_segment()
    unit.drop(4)
    unit.seal(reads=5)
    unit.seal(lane=Lane.HITS, reads=1)
    unit.upload(uploaded, reads=6)
    unit.delete(uploaded, "receipt")
    unit.delete(expired, "expired")
    unit.stop()
    return unit


def spool_files(unit: AuditedUnit) -> list[Path]:
    """Return the unit's segments."""
    return [segment.path for segment in SpoolReader(unit.state / "spool").segments()]

"""A unit's two processes and its city on a simulated disk: the agent's own code, driven by hand."""

import copy
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from agent.audit import AuditLog, LogReader, RecordFile, read_backlog
from agent.base.clock import to_ms
from agent.base.errors import DeviceError, UplinkError
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli.audit import review_state
from agent.gate import GateRules
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.keeping import SIGN_INTERVAL_S, Keeping, Rules
from agent.pipeline.send import Sending, Terms
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.entries import Boot, Deleted, DeleteIntent, Gap, Recovered, Sealed, decode_entry
from agent.trust.frames import frame_hash, parse_frame
from agent.trust.keys import generate_opener, generate_signer
from agent.trust.notes import peek_checkpoint, split_notes
from agent.trust.receipts import Receipt, sign_receipt
from agent.trust.uploads import require_logged
from tests.custody.sim_disk import Image, ProcessDisk, SimDisk, disk_from
from tests.fakes import FakeClock
from tests.lists import FixedLists, make_list
from tests.sealing import plate_read

STATE = Path("/state")
UNIT = "u"
DAY_S = 86_400
CITY_KEY = generate_opener()
RECEIPTS, WATCH, SEND = generate_signer(), generate_signer(), generate_signer()
LISTS = FixedLists(make_list(*[f"TEST{n:03d}" for n in range(1, 1000, 9)], life_ms=604_800_000))
RETENTION_S = {Lane.HITS: 3 * DAY_S, Lane.READS: 2 * DAY_S, Lane.CROPS: DAY_S}


decode = lru_cache(maxsize=65_536)(decode_entry)


class Violation(AssertionError):  # noqa: N818  it is what a test finds, not what it meets
    """A promise of the durability contract is broken."""


@dataclass
class City:
    """The far side: keeps frames by hash, remembers the log, signs receipts, forgets nothing."""

    clock: FakeClock
    kept: dict[bytes, bytes] = field(default_factory=dict)
    sequences: dict[tuple[bytes, Lane, int], bytes] = field(default_factory=dict)
    known_size: int = 0
    reachable: bool = True
    answers: bool = True

    def deliver(self, upload):
        if not self.reachable:
            raise UplinkError("no route")
        if upload.previous_size != self.known_size:
            return LogPosition(self.known_size)
        head = peek_checkpoint(upload.checkpoint)
        require_logged(upload, [parse_frame(frame).header for frame in upload.frames], head)
        self.known_size = head.size
        for frame in upload.frames:
            self._keep(frame)
        if not self.answers:
            raise UplinkError("connection reset")
        receipt = Receipt(
            unit=UNIT,
            frames=tuple(frame_hash(frame) for frame in upload.frames),
            log_size=head.size,
            log_root=head.root,
            time_ms=to_ms(self.clock.now()),
        )
        return UnverifiedReceipt(sign_receipt(RECEIPTS, receipt))

    def _keep(self, content: bytes) -> None:
        sha256, header = frame_hash(content), parse_frame(content).header
        for sequence in range(header.first_sequence, header.last_sequence + 1):
            before = self.sequences.setdefault((header.boot, header.lane, sequence), sha256)
            if before != sha256:
                raise Violation(f"doubled: sequence {sequence} came in two frames")
        self.kept[sha256] = content

    def copy(self, clock: FakeClock) -> "City":
        return City(clock, dict(self.kept), dict(self.sequences), self.known_size)


class TellingWriter(SpoolWriter):
    """Tells which frames were acknowledged, which segments closed or given up, when they were."""

    def __init__(self, world: "World", *args) -> None:
        super().__init__(*args)
        self._acknowledged, self._world = world.acknowledged, world
        self._given_up = ""

    def _finish(self, path):
        super()._finish(path)
        if path not in self._unfinished:
            self._world.not_open.add(str(path))

    def _abandon(self, lane):
        file, refused = self._current[lane].file, self._world.disk.refused
        self._given_up = file.path.stem
        super()._abandon(lane)
        if not file.size_bytes and refused == self._world.disk.refused:
            self._world.not_open.add(str(file.path))

    def put(self, lane, content, now):
        refused, self._given_up = self._world.disk.refused, ""
        try:
            segment = super().put(lane, content, now)
        except DeviceError:  # after a refused creation or rename nothing was cut off
            if self._given_up and self._world.disk.refused == refused + 1:  # the cut went well
                self._world.cut_away.add((self._given_up, content))
            raise
        self._acknowledged[frame_hash(content)] = content
        return segment


class TellingLog(AuditLog):
    """Tells how many entries were acknowledged and signed, at the moment they were."""

    def __init__(self, world: "World", directory: Path, *args) -> None:
        self._logged, self._signed, self._name = world.logged, world.signed, directory.name
        super().__init__(directory, *args)

    def checkpoint(self):
        note = super().checkpoint()
        self._signed[self._name] = peek_checkpoint(note).size
        return note

    def append_all(self, entries):
        first = super().append_all(entries)
        self._logged[self._name] = self.size
        return first


class World:
    """Both processes over one disk."""

    def __init__(self, disk: SimDisk, *, clock: FakeClock, city: City | None = None) -> None:
        self.disk, self.clock = disk, clock
        self.city = city or City(clock)
        self.acknowledged: dict[bytes, bytes] = {}
        self.logged: dict[str, int] = {"watch": 0, "send": 0}
        self.signed: dict[str, int] = {"watch": 0, "send": 0}
        self.boots = self.seed = 0
        self.commit_interval_s, self.sign_interval_s = 1.0, SIGN_INTERVAL_S
        self.quota = dict.fromkeys(Lane, 1 << 20)
        self.watcher = self.sender = None
        self.keeping: Keeping | None = None
        self.sending: Sending | None = None
        self.numbers = 0
        self.not_open: set[str] = set()
        """Names of open segments that were closed or given up, and the disk waited for."""
        self.cut_away: set[tuple[str, bytes]] = set()
        """Segments and frames that were cut off them again."""

    def prepare(self) -> None:
        """Make the state folder, as provisioning does, durable."""
        self.disk.make_directory(STATE, 0o750)
        root = self.disk.open(Path("/"), 0)
        self.disk.sync(root)
        self.disk.close(root)

    def boot_id(self) -> bytes:
        self.boots += 1
        told = f"{self.seed} {self.boots} {len(self.acknowledged)} {self.clock.now()}"
        return random.Random(told).randbytes(16)

    def _open_log(self, name: str, signer, disk: ProcessDisk) -> AuditLog:
        directory, origin = STATE / "audit" / name, f"homeplate/{UNIT}/{name}"
        return TellingLog(self, directory, signer, origin, self.clock, disk)

    def start_watcher(self) -> None:
        self.watcher = disk = ProcessDisk(self.disk)
        boot = self.boot_id()
        audit = self._open_log("watch", WATCH, disk)
        limits = SpoolSettings(segment_limit_bytes=65_536, segment_limit_s=30)
        spool = TellingWriter(self, STATE / "spool", limits, self.quota, boot, disk)
        spooled = SpoolReader(STATE / "spool", disk)
        spool.recover(lambda found: adopt_leftovers(found, spooled, audit, self.clock))
        audit.append(
            Boot(at_ms=to_ms(self.clock.now()), boot=boot, version="0", policy_hash=bytes(32))
        )
        audit.checkpoint()
        self.keeping = Keeping(
            rules=Rules(
                gate=GateRules(mode="all", min_hit_confidence=0.9, min_hit_frames=2),
                crops="all",
                retention_s=RETENTION_S,
                expires_at=datetime(2100, 1, 1, tzinfo=UTC),
                commit_interval_s=self.commit_interval_s,
            ),
            boot=boot,
            sealer=Sealer(
                city_key=CITY_KEY.public_key,
                policy_sha256=bytes(32),
                unit=UNIT,
                boot=boot,
                model_sha256=bytes(32),
            ),
            spool=spool,
            spooled=spooled,
            audit=audit,
            clock=self.clock,
            sign_interval_s=self.sign_interval_s,
        )
        self.keeping.take_list(LISTS)

    def start_sender(self) -> None:
        self.sender = disk = ProcessDisk(self.disk)
        audit = self._open_log("send", SEND, disk)
        backlog = read_backlog(STATE / "audit/send", disk)
        audit.append(
            Boot(
                at_ms=to_ms(self.clock.now()),
                boot=self.boot_id(),
                version="0",
                policy_hash=bytes(32),
            )
        )
        audit.checkpoint()
        self.sending = Sending(
            terms=Terms(
                unit=UNIT,
                receipt_keys=(RECEIPTS.public_key,),
                retention_s=RETENTION_S,
                quota_bytes=self.quota,
            ),
            spool=SpoolReader(STATE / "spool", disk),
            watched=LogReader(STATE / "audit/watch", disk=disk),
            backlog=backlog,
            uplink=self.city,
            audit=audit,
            clock=self.clock,
        )

    def read(self, count: int, *, crop_bytes: int = 0) -> None:
        """Let vehicles pass and their reads be committed."""
        reads = []
        for _ in range(count):
            self.numbers += 1
            crop = random.Random(self.numbers).randbytes(crop_bytes)
            reads.append(plate_read(self.numbers, crop_jpeg=b"\xff\xd8" + crop if crop else b""))
        self.keeping.take(tuple(reads))
        for _ in range(2 if crop_bytes else 1):
            self.clock.advance(1.1)
            self.keeping.commit()

    def send(self) -> None:
        with suppress(UplinkError):
            self.sending.work()

    def stop_watcher(self) -> None:
        self.keeping.close()
        self.keeping = None

    def stop_sender(self) -> None:
        self.sending.close()
        self.sending = None

    def kill_watcher(self) -> None:
        self.watcher.kill()
        self.keeping = None

    def kill_sender(self) -> None:
        self.sender.kill()
        self.sending = None

    def after_power_cut(self, image: Image) -> "World":
        """Return what goes on after a power cut that left `image` of the disk."""
        clock = copy.deepcopy(self.clock)
        world = World(disk_from(image), clock=clock, city=self.city.copy(clock))
        world.acknowledged = dict(self.acknowledged)
        world.logged, world.seed = dict(self.logged), self.seed
        world.signed, world.not_open = dict(self.signed), set(self.not_open)
        world.cut_away = set(self.cut_away)
        world.boots, world.numbers, world.quota = self.boots + 1000, self.numbers, self.quota
        world.sign_interval_s = self.sign_interval_s
        return world

    def entries(self, log: str, *kinds):
        path = STATE / "audit" / log / "entries"
        contents = RecordFile(path, self.disk).follow()
        return [entry for entry in map(decode, contents) if isinstance(entry, kinds)]


def check_recovery(
    world: World, image: Image, *, logged_before: dict[str, int], sender_first: bool
) -> None:
    """Start both on what a power cut left, let them work, hold the result to the promises.

    Raises:
        Violation: One is broken.
    """
    torn = find_torn(world.disk, logged_before)
    require_durable(world, image)
    try:
        come_back(world, sender_first=sender_first)
    except Violation:
        raise
    except Exception as error:
        raise Violation(f"start: {type(error).__name__}: {error}") from error
    check_promises(world)
    if any(path.endswith(".open") for path, _ in image) and not world.entries("watch", Recovered):
        raise Violation("gap: open segments and no word of them")
    for name in torn:
        if not world.entries(name, Gap):
            raise Violation(f"gap: a torn end of the log {name} and no word of it")


def require_durable(world: World, image: Image) -> None:
    """Refuse a state that lacks a signature, or that undoes what was done to a segment's name."""
    for name, size in world.signed.items():
        if size > signed_size(world.disk, name):
            raise Violation(f"log: a signature over {size} entries of {name} is gone")
    if any(path in world.not_open for path, _ in image):
        raise Violation("segment: one that was closed or given up stands open again")
    for path, content in image:
        for segment, frame in world.cut_away:
            if content and segment in path and frame in content:
                raise Violation("segment: a frame that was cut off is back")


def find_torn(disk: SimDisk, logged: dict[str, int]) -> set[str]:
    """Return the logs with a torn end; refuse one that lacks what it acknowledged."""
    torn = set()
    for name, count in logged.items():
        whole, loose_bytes = measure_log(disk, name)
        if whole < count:
            raise Violation(f"log: {whole} of {count} acknowledged entries of {name} are there")
        if loose_bytes:
            torn.add(name)
    return torn


def come_back(world: World, *, sender_first: bool) -> None:
    """Let a unit start, keep a read, upload all and end its watcher in good order."""
    if sender_first:
        world.start_sender()
        world.send()
    world.start_watcher()
    if not sender_first:
        world.start_sender()
    world.read(1)
    world.send()
    world.stop_watcher()
    world.send()
    world.stop_sender()


def check_promises(world: World) -> None:
    """Raise Violation unless all that was acknowledged is accounted for and the audit passes."""
    standing = {
        (segment.lane, segment.path.stem)
        for segment in SpoolReader(STATE / "spool", world.disk).segments()
    }
    if standing & {(entry.lane, entry.segment) for entry in world.entries("send", Deleted)}:
        raise Violation("deleted: a segment that the log calls deleted is there")
    given_up = {
        (entry.lane, entry.segment)
        for entry in world.entries("send", DeleteIntent)
        if entry.reason != "receipt"
    }
    sealed = {entry.frame: (entry.lane, entry.segment) for entry in world.entries("watch", Sealed)}
    for sha256, content in world.acknowledged.items():
        if world.city.kept.get(sha256, content) != content:
            raise Violation("altered: the city has other bytes")
        if sha256 not in world.city.kept and sealed.get(sha256) not in given_up:
            raise Violation("lost: an acknowledged frame is neither at the city nor given up")
    report = review_state(
        STATE,
        watch_key=WATCH.public_key,
        send_key=SEND.public_key,
        city_keys=(RECEIPTS.public_key,),
        disk=world.disk,
    )
    if report.faults:
        raise Violation(f"audit: {report.faults[0].reason}: {report.faults[0].detail}")
    if not all(lane.balances for lane in report.lanes):
        raise Violation("audit: the reads do not balance")


def find_unsigned(disk: SimDisk, log: str) -> list:
    """Return the entries of a log that no checkpoint covers."""
    entries = RecordFile(STATE / "audit" / log / "entries", disk).follow()
    return [*map(decode, entries)][signed_size(disk, log) :]


def signed_size(disk: SimDisk, log: str) -> int:
    """Return how many entries of a log a checkpoint covers."""
    try:
        text = disk._find(STATE / "audit" / log / "checkpoints").content.decode(errors="replace")
    except FileNotFoundError:
        return 0
    notes, _ = split_notes(text)
    return peek_checkpoint(notes[-1]).size if notes else 0


def measure_log(disk: SimDisk, log: str) -> tuple[int, int]:
    """Return how many whole entries a log has, and the bytes behind them."""
    path = STATE / "audit" / log / "entries"
    records = RecordFile(path, disk)
    try:
        whole = sum(1 for _ in records.follow())
    except DeviceError:  # no log yet
        return 0, 0
    return whole, disk.size_at(path) - records.offset

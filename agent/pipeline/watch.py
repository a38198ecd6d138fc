"""The watcher's road: camera → detect → track → read → gate → seal → spool, and its log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from agent.audit import AuditLog
from agent.base.clock import Clock, ForwardClock, to_ms
from agent.base.errors import DeviceError, HomeplateError, IntegrityError, SpoolFullError
from agent.base.health import WatchCounters
from agent.base.lanes import Lane
from agent.base.records import Frame, PlateRead
from agent.camera import Camera
from agent.detect import Detector, detect_plates
from agent.gate import GateRules, Hotlist, admit
from agent.pipeline.owed import owe
from agent.read import Ballots, Reader, read_crops
from agent.seal import Batch, Commit, Crop, Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.track import Tracker
from agent.trust.entries import Dropped, Entry, IoFailure, Sealed, Stop

log = logging.getLogger(__name__)

PUTS: Final = 2
"""A frame that the disk refused is put once more, into a new file."""
COMMIT_SHARE: Final = 0.9
"""A commit begins after this share of its interval: frame interval and disk take the rest."""
DELETION_GRACE: Final = timedelta(minutes=10)
"""Frames older than their retention by more than this show that nobody deletes any more."""
DELETION_BROKEN: Final = "deletion is broken: frames older than their retention"
LOG_FULL: Final = "the log has no room"
POLICY_EXPIRED: Final = "the policy has expired"
LOOK_INTERVAL_NS: Final = 60_000_000_000
"""How often the watcher looks for such frames."""
SUMMARY_INTERVAL_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeing:
    """The stages that see plates."""

    detector: Detector
    tracker: Tracker
    reader: Reader
    ballots: Ballots


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the city decided about keeping."""

    gate: GateRules
    hotlist: Hotlist
    crops: str
    """none, hits or all."""
    retention_s: dict[Lane, int]
    expires_at: datetime
    """End of the policy: from then on nothing is kept."""
    commit_interval_s: float


def watch_forever(
    camera: Camera,
    seeing: Seeing,
    keeping: "Keeping",
    *,
    stop: Callable[[], bool],
    report: Callable[[WatchCounters], None],
) -> None:
    """Carry frames from the camera to the spool until the camera ends or `stop` says so.

    Args:
        camera: Is opened here and given back.
        seeing: The stages up to a finished read.
        keeping: The stages from there to the disk; is closed here, also after an error.
        stop: Asked after every frame.
        report: Given the counters after every frame; to be quick.

    Raises:
        HomeplateError: The camera cannot be used, or no account can be kept any more.
    """
    counters = keeping.counters
    try:
        with camera:
            for frame in camera.frames():
                counters.frames += 1
                counters.broken_frames = camera.broken_frames
                keeping.take(see_frame(frame, seeing, counters))
                keeping.commit()
                report(counters)
                if stop():
                    break
    finally:  # a camera that fails takes nothing with it that was seen before
        keeping.take(seeing.ballots.finish(seeing.tracker.finish()))
        keeping.close()
    report(counters)


def see_frame(frame: Frame, seeing: Seeing, counters: WatchCounters) -> tuple[PlateRead, ...]:
    """Return the reads that one more frame brought to their end.

    A frame on which a stage fails is counted and left out: one strange picture must not end the
    watch. What failed is logged by its kind and place, never with values.
    """
    try:
        return _see(frame, seeing, counters)
    except HomeplateError:
        raise
    except Exception as error:  # noqa: BLE001  the one broad handler: a frame is not worth the watch
        counters.failed_frames += 1
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
        log.warning("frame failed", extra={"error": type(error).__name__, "place": place})
        return ()


def _see(frame: Frame, seeing: Seeing, counters: WatchCounters) -> tuple[PlateRead, ...]:
    ballots = seeing.ballots
    found = detect_plates(frame, seeing.detector)
    step = seeing.tracker.follow(found, frame, certain=ballots.certain, swapped=ballots.swapped)
    corners = found.corners[step.wanted]
    slots = read_crops(frame.y, corners, seeing.reader, turn=frame.index)
    ballots.count(frame, track_ids=step.track_ids[step.wanted], corners=corners, slots=slots)
    counters.plates += len(found.scores)
    counters.crops_read += len(corners)
    return ballots.close(step.ended, alive=step.tracks["id"], now_ms=to_ms(frame.captured_at))


class Keeping:
    """From a finished read to an acknowledged frame on disk.

    Every read that the gate lets through ends in the log: sealed, or dropped with the reason.
    """

    def __init__(  # noqa: PLR0913  one argument a stage
        self,
        *,
        rules: Rules,
        boot: bytes,
        sealer: Sealer,
        spool: SpoolWriter,
        spooled: SpoolReader,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self.counters = WatchCounters()
        self._rules = rules
        self._boot = boot
        self._sealer = sealer
        self._spool = spool
        self._spooled = spooled
        self._audit = audit
        self._wall = clock
        self._clock = ForwardClock(clock, audit.latest_ms)
        interval_s = rules.commit_interval_s * COMMIT_SHARE
        self._reads: dict[Lane, Batch[PlateRead]] = {
            lane: Batch(lane, interval_s=interval_s) for lane in (Lane.HITS, Lane.READS)
        }
        self._crops: Batch[Crop] = Batch(Lane.CROPS, interval_s=interval_s)
        self._owed: list[Entry] = []
        self._looked_ns: int | None = None
        self._told_ns = clock.monotonic_ns()
        self._deletion_broken = False

    def take(self, reads: tuple[PlateRead, ...]) -> None:
        """Let finished reads through the gate; what it turns away is forgotten here."""
        for read in reads:
            lane = admit(read, rules=self._rules.gate, hotlist=self._rules.hotlist)
            self._count(read, lane)
            if lane is not None:
                self._reads[lane].add(read, now_ns=self._clock.monotonic_ns())

    def commit(self, *, everything: bool = False) -> None:
        """Seal and store what is due.

        Raises:
            HomeplateError: The log cannot be written: no collecting without an account.
        """
        now_ns = self._clock.monotonic_ns()
        for lane, batch in self._reads.items():
            if batch.is_due(now_ns) or (everything and len(batch)):
                self._commit_reads(lane, batch.take(), now_ns)
        if self._crops.is_due(now_ns) or (everything and len(self._crops)):
            self._store(self._sealer.seal_crops(self._crops.take()))
        if not self._owed:  # a segment that the log does not know stays open for the next start
            self._spool.roll_aged(self._clock.now())
        self._summarise(now_ns)

    def close(self) -> None:
        """Commit the rest, close the spool, sign off.

        Raises:
            SpoolFullError: Reads were dropped and the disk has no room to say so in the log.
        """
        self.commit(everything=True)
        if not self._owed:
            self._spool.close()
        self._note(Stop(at_ms=self._now_ms(), counters=self.counters.as_dict()))
        self._audit.close()
        if self._owed:
            message = (
                f"the disk is full: {self.counters.dropped} reads dropped, and no room in the log "
                "to say so; make room"
            )
            raise SpoolFullError(message)

    def _commit_reads(self, lane: Lane, reads: tuple[PlateRead, ...], now_ns: int) -> None:
        try:
            commit = self._sealer.seal(lane, reads)
        except (IntegrityError, ValueError, OverflowError) as error:  # a stage made nonsense
            self._drop_unsealed(lane, len(reads), error)
            return
        if not self._store(commit) or not self._wants_crops(lane):
            return
        for sequence, read in enumerate(reads, commit.header.first_sequence):
            if read.crop_jpeg:
                crop = Crop(
                    lane=lane, read_sequence=sequence, seen_at=read.last_seen, jpeg=read.crop_jpeg
                )
                self._crops.add(crop, size_bytes=len(crop.jpeg), now_ns=now_ns)

    def _wants_crops(self, lane: Lane) -> bool:
        return self._rules.crops == "all" or (self._rules.crops == "hits" and lane is Lane.HITS)

    def _store(self, commit: Commit) -> bool:
        """Put a frame into the spool and the log; tell whether it counts as kept."""
        reason = self._reason_not_to_keep()
        segment = None if reason else self._put(commit)
        if segment is None:
            self._drop(commit, reason or "the spool refused")
            return False
        header = commit.header
        self._note(
            Sealed(
                at_ms=self._now_ms(),
                lane=header.lane,
                boot=self._boot,
                first=header.first_sequence,
                last=header.last_sequence,
                frame=commit.sha256,
                length=len(commit.content),
                segment=segment,
            )
        )
        self._count_sealed(header.lane, header.count)
        return True

    def _put(self, commit: Commit) -> str | None:
        """Return the segment that took the frame, None when the disk or the quota did not."""
        for _ in range(PUTS):
            try:
                return self._spool.put(commit.header.lane, commit.content, self._clock.now())
            except SpoolFullError as error:
                log.warning("spool full", extra={"detail": str(error)})
                return None
            except DeviceError as error:
                log.error("spool write failed", extra={"detail": str(error)})  # noqa: TRY400
                self._note(IoFailure(at_ms=self._now_ms(), place="spool", detail=str(error)[:200]))
        return None

    def _reason_not_to_keep(self) -> str:
        """Return why nothing may be collected now, empty when it may.

        No collecting without an account: what the full log owes comes first. Retention is
        enforced by the sender. Where it fails to, the watcher sees frames older than the limit,
        and stops: no collection while deletion is broken.
        """
        if self._owed:
            self._settle()
        if self._owed:
            return LOG_FULL
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOK_INTERVAL_NS:
            self._looked_ns = now_ns
            broken = self._deletion_fails()
            if broken != self._deletion_broken:
                log.error("deletion is broken" if broken else "deletion works again")
            self._deletion_broken = broken
        if self._wall.now() >= self._rules.expires_at:
            return POLICY_EXPIRED
        return DELETION_BROKEN if self._deletion_broken else ""

    def _deletion_fails(self) -> bool:
        try:
            return any(self._is_overdue(lane) for lane in Lane)
        except DeviceError as error:  # who cannot look cannot know
            log.error("spool cannot be read", extra={"detail": str(error)})  # noqa: TRY400
            return True

    def _is_overdue(self, lane: Lane) -> bool:
        oldest_ms = self._spooled.oldest_ms(lane)
        limit = timedelta(seconds=self._rules.retention_s[lane]) + DELETION_GRACE
        return oldest_ms is not None and self._now_ms() - oldest_ms > limit.total_seconds() * 1000

    def _drop(self, commit: Commit, reason: str) -> None:
        header = commit.header
        self._note_dropped(header.lane, header.first_sequence, header.count, reason)

    def _drop_unsealed(self, lane: Lane, count: int, error: Exception) -> None:
        """Account for reads that no frame can hold; the error's own text may quote them."""
        log.error("sealing failed", extra={"error": type(error).__name__})
        self._note_dropped(lane, None, count, f"cannot be sealed: {type(error).__name__}")

    def _note_dropped(self, lane: Lane, first: int | None, count: int, reason: str) -> None:
        if lane is Lane.CROPS:
            self.counters.crops_dropped += count
        else:
            self.counters.dropped += count
        log.warning("reads dropped", extra={"lane": lane.label, "count": count, "reason": reason})
        self._note(
            Dropped(
                at_ms=self._now_ms(),
                lane=lane,
                boot=self._boot,
                first=first,
                count=count,
                reason=reason,
            )
        )

    def _note(self, entry: Entry) -> None:
        """Write to the log; while the disk is full, entries wait in memory for room."""
        owe(self._owed, entry)
        self._settle()

    def _settle(self) -> None:
        try:
            self._audit.append_all(self._owed)
            self._owed.clear()
            self._audit.checkpoint()
        except SpoolFullError as error:
            log.error("log cannot grow", extra={"detail": str(error)})  # noqa: TRY400

    def _count(self, read: PlateRead, lane: Lane | None) -> None:
        self.counters.passages += 1
        self.counters.unreadable += read.abstained
        self.counters.hits += lane is Lane.HITS
        self.counters.reads += lane is Lane.READS
        self.counters.turned_away += lane is None

    def _count_sealed(self, lane: Lane, count: int) -> None:
        self.counters.frames_sealed += 1
        if lane is Lane.CROPS:
            self.counters.crops_sealed += count
        else:
            self.counters.sealed += count

    def _summarise(self, now_ns: int) -> None:
        if now_ns - self._told_ns >= SUMMARY_INTERVAL_NS:
            self._told_ns = now_ns
            log.info("summary", extra=self.counters.as_dict())

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())

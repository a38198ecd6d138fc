"""The keeping half of the watcher's road: gate → seal → spool, every step in its log."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from agent.audit import AuditLog
from agent.base.clock import Clock, ForwardClock, to_ms
from agent.base.errors import DeviceError, SpoolFullError
from agent.base.health import WatchCounters
from agent.base.hits import Hit, HitEnd
from agent.base.lanes import Lane
from agent.base.records import PlateRead
from agent.gate import Hotlist
from agent.pipeline.decisions import Lists, Renewal, Rules
from agent.pipeline.gating import Gating
from agent.pipeline.owed import owe, take_span
from agent.pipeline.upkeep import DeletionWatch
from agent.seal import Batch, Commit, Crop, Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.entries import Dropped, Entry, IoFailure, Sealed, Stop

log = logging.getLogger(__name__)

PUTS: Final = 2
"""A frame that the disk refused is put once more, into a new file."""
DISK_SHARE: Final = 0.1
"""Of the commit interval: is left to sealing and to the disk."""
LOOKS: Final = 2
"""A commit begins unless it could still begin in time after so many looks like the last one."""
DELETION_BROKEN: Final = "deletion is broken: frames older than their retention"
LOG_FULL: Final = "the log has no room"
LOG_FAILED: Final = "the log cannot be written"
READS_DROPPED: Final = "their reads were dropped"
POLICY_EXPIRED: Final = "the policy has expired"
POLICY_GONE: Final = "a newer policy was in force, and it is gone"
DISK_BEHIND: Final = "the disk is too slow: no more could wait in memory"
SUMMARY_INTERVAL_NS: Final = 60_000_000_000
SIGN_INTERVAL_S: Final = 5.0
"""The log is signed at a hit, when a segment closes and at the end, and else so often. What is not
signed can be changed on the card without a trace; each note is 0.4 KB and one wait for the disk,
and two hashes and a root for every auditor (durability.md has the figures)."""

T = TypeVar("T")


class Keeping:
    """From a finished read to an acknowledged frame on disk.

    Every read that the gate lets through ends in the log: sealed, or dropped with the reason.

    Two threads may share it: one that hands over what was seen, and one that commits. The first
    never waits for the disk: what it calls takes `_lock`, which nobody holds while the disk works.
    What waits for the disk is bounded.
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
        sign_interval_s: float = SIGN_INTERVAL_S,
    ) -> None:
        self.counters = WatchCounters()
        self._lock, self._disk = threading.RLock(), threading.RLock()
        """Of what waits in memory; of the disk, which is taken before the other."""
        self._trouble = ""
        self._rules = rules
        self._boot = boot
        self._sealer = sealer
        self._spool = spool
        self._audit = audit
        self.clock = ForwardClock(clock, audit.latest_ms)
        """Never runs back."""
        interval_s = rules.commit_interval_s * (1 - DISK_SHARE)
        self._gating = Gating(rules.gate, self.counters)
        self._hits: Batch[Hit | HitEnd] = Batch(Lane.HITS, interval_s=interval_s)
        self._reads: Batch[PlateRead] = Batch(Lane.READS, interval_s=interval_s)
        self._crops: Batch[Crop] = Batch(Lane.CROPS, interval_s=interval_s)
        self._asked_ns = clock.monotonic_ns()
        """When `commit` was last called."""
        self._owed: list[Entry] = []
        """Of this commit; and while the disk is full, of those before it."""
        self._log_full = False
        self._sign_interval_ns = int(sign_interval_s * 1e9)
        self._hit = False
        """Whether a hit came since the log was signed."""
        self._closed = 0
        """Segments that were closed when the log was signed."""
        self._signed_ns = clock.monotonic_ns()
        self._told_ns = clock.monotonic_ns()
        self._deletion = DeletionWatch(spooled, rules.retention_s, self.clock)

    @property
    def hotlist(self) -> Hotlist:
        """The list in use."""
        return self._gating.hotlist

    @property
    def has_alerts(self) -> bool:
        """Whether alerts wait, which are committed at once."""
        return len(self._hits) > 0

    def take_list(self, lists: Lists) -> None:
        """Hold reads against the newest list from now on; the log says which came."""
        for entry in lists.look():
            self.note(entry)
        if lists.hotlist is not self._gating.hotlist:
            with self._lock:
                self._gating.use(lists.hotlist)

    def follow(self, renewal: Renewal) -> None:
        """Keep under another policy from now on; boot and sequences go on.

        What was seen before must have been committed under the policy before.
        """
        with self._disk, self._lock:
            self._rules = renewal.rules
            self._gating.follow(renewal.rules.gate, now_ms=self._now_ms())
            self._deletion.follow(renewal.rules.retention_s)
            self._sealer.follow(city_key=renewal.city_key, policy_sha256=renewal.policy_sha256)
            self._spool.follow(renewal.segments, renewal.quota_bytes)

    def is_lead(self, read: PlateRead) -> bool:
        """Tell whether a read of a vehicle in view is a hit that no alert was made for yet."""
        with self._lock:
            return self._gating.is_lead(read, now_ms=self._now_ms())

    def alert(self, reads: tuple[PlateRead, ...]) -> None:
        """Make the alerts for reads so far, of which `is_lead` holds."""
        with self._lock:
            now_ms = self._now_ms()
            for read in reads:
                sequence = self._sealer.next_sequence(Lane.HITS) + len(self._hits)
                hit = self._gating.raise_alert(read, now_ms=now_ms, sequence=sequence)
                self._add_hit(hit)

    def take(self, reads: tuple[PlateRead, ...], *, at: datetime | None = None) -> None:
        """Let finished reads through the gate; what it turns away is forgotten here.

        Args:
            reads: Of passages that are over.
            at: Time of the frame that ended them; None = when each was last seen.
        """
        with self._lock:
            now_ms, now_ns = self._now_ms(), self.clock.monotonic_ns()
            for read in reads:
                forgotten_ms = to_ms(at or read.last_seen)
                kept = self._gating.settle(read, now_ms=now_ms, forgotten_ms=forgotten_ms)
                for item in kept.hits:
                    self._add_hit(item)
                if kept.read is not None:
                    self._reads.add(kept.read, now_ns=now_ns)

    def _add_hit(self, item: Hit | HitEnd) -> None:
        if not self._hits.add(item, now_ns=self.clock.monotonic_ns()):
            self._gating.note_lost((item,))

    def commit(self, *, everything: bool = False) -> None:
        """Seal, store and log what is due: all of it with one entry into the log.

        An alert that cannot be kept is made anew when its passage ends.

        Raises:
            HomeplateError: The log cannot be written: no collecting without an account.
        """
        with self._disk:
            self._commit(everything=everything)

    def _commit(self, *, everything: bool) -> None:
        now_ns = self.clock.monotonic_ns()
        by_ns = now_ns + LOOKS * (now_ns - self._asked_ns)  # what would be late next time, too
        self._asked_ns = now_ns
        with self._lock:
            self._gating.look_at_age(self._now_ms())
            hits = self._hits.take()
            alerts = self._seal(Lane.HITS, hits, self._sealer.seal_hits)
            with_reads = everything or self._reads.is_due(by_ns)
            reads = self._reads.take() if with_reads else ()
            seen = self._seal_reads(reads, now_ns)
            crops = self._crops.take() if with_reads or self._crops.is_due(by_ns) else ()
            pictures = self._seal(Lane.CROPS, crops, self._sealer.seal_crops)
            for batch in (self._hits, self._reads, self._crops):
                if refused := batch.take_refused():
                    self._note_dropped(batch.lane, None, refused, DISK_BEHIND)
        if hits and not self._store(alerts):  # all is sealed before the first wait for the disk
            with self._lock:
                self._gating.note_lost(hits)
        kept = self._store(seen)
        self._store(pictures, unless=READS_DROPPED if reads and not kept else "")
        self._settle()
        if not self._log_full:  # a segment that the log does not know stays open for the next start
            self._spool.roll_aged(self.clock.now())
        self._sign(now_ns)
        self._summarise(now_ns)

    def close(self) -> None:
        """Commit the rest, close the spool, sign off.

        Raises:
            SpoolFullError: Reads were dropped and the disk has no room to say so in the log.
        """
        with self._disk:
            self._commit(everything=True)
            if not self._log_full:
                self._spool.close()
            self.note(Stop(at_ms=self._now_ms(), counters=self.counters.as_dict()))
            self._settle()
            self._audit.close()
        if self._owed:
            message = (
                f"the disk is full: {self.counters.dropped} reads dropped, and no room in the log "
                "to say so; make room"
            )
            raise SpoolFullError(message)

    def _seal_reads(self, reads: tuple[PlateRead, ...], now_ns: int) -> Commit | None:
        """Return the next frame of reads; their pictures go on to the lane crops."""
        commit = self._seal(Lane.READS, reads, self._sealer.seal_reads)
        if commit is not None and self._rules.crops == "all":
            self._add_crops(commit.header.first_sequence, reads, now_ns)
        return commit

    def _add_crops(self, first: int, reads: tuple[PlateRead, ...], now_ns: int) -> None:
        for sequence, read in enumerate(reads, first):
            if read.crop_jpeg:
                crop = Crop(read_sequence=sequence, seen_at=read.last_seen, jpeg=read.crop_jpeg)
                self._crops.add(crop, size_bytes=len(crop.jpeg), now_ns=now_ns)

    def _seal(
        self, lane: Lane, items: tuple[T, ...], seal: Callable[[Sequence[T]], Commit]
    ) -> Commit | None:
        """Return the next frame; None without items, or where no frame can hold them."""
        if not items:
            return None
        try:
            return seal(items)
        except Exception as error:  # noqa: BLE001  whatever it is: these reads were recorded
            self._drop_unsealed(lane, len(items), error)
            return None

    def _store(self, commit: Commit | None, *, unless: str = "") -> bool:
        """Put a frame into the spool and have it logged; tell whether it counts as kept."""
        if commit is None:
            return False
        reason = unless or self.reason_not_to_keep()
        segment = None if reason else self._put(commit)
        if segment is None:
            self._drop(commit, reason or "the spool refused")
            return False
        header = commit.header
        self.note(
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
        self._hit |= header.lane is Lane.HITS
        return True

    def _put(self, commit: Commit) -> str | None:
        """Return the segment that took the frame, None when the disk or the quota did not."""
        for _ in range(PUTS):
            try:
                return self._spool.put(commit.header.lane, commit.content, self.clock.now())
            except SpoolFullError as error:
                log.warning("spool full", extra={"detail": str(error)})
                return None
            except DeviceError as error:
                log.error("spool write failed", extra={"detail": str(error)})  # noqa: TRY400
                self.note(IoFailure(at_ms=self._now_ms(), place="spool", detail=str(error)[:200]))
        return None

    def tell_trouble(self) -> str:
        """Return why nothing may be collected, as far as is known without waiting for the disk."""
        if self._disk.acquire(blocking=False):
            try:
                self._trouble = self.reason_not_to_keep()
            finally:
                self._disk.release()
        return self._trouble

    def reason_not_to_keep(self) -> str:
        """Return why nothing may be collected now, empty when it may.

        No collecting without an account: what the full log owes comes first. Retention is
        enforced by the sender. Where it fails to, the watcher sees frames older than the limit,
        and stops: no collection while deletion is broken.
        """
        if self._audit.failed:
            return LOG_FAILED
        if self._log_full:
            self._settle()
        if self._log_full:
            return LOG_FULL
        if self._rules.stands_in:
            return POLICY_GONE
        if self.clock.now() >= self._rules.expires_at:
            return POLICY_EXPIRED
        return DELETION_BROKEN if self._deletion.is_broken() else ""

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
        self.note(
            Dropped(
                at_ms=self._now_ms(),
                lane=lane,
                boot=self._boot,
                first=first,
                count=count,
                reason=reason,
            )
        )

    def note(self, entry: Entry) -> None:
        """Have an entry written with this commit; while the disk is full, it waits for room."""
        with self._lock:
            owe(self._owed, entry)

    def _settle(self) -> None:
        """Write what the log is owed."""
        try:
            while owed := self._take_owed():
                self._audit.append_all(owed)
                with self._lock:  # others may have come meanwhile
                    del self._owed[: len(owed)]
            self._log_full = False
        except SpoolFullError as error:
            if not self._log_full:  # it is tried many times a second
                log.error("log cannot grow", extra={"detail": str(error)})  # noqa: TRY400
            self._log_full = True

    def _take_owed(self) -> tuple[Entry, ...]:
        with self._lock:
            return take_span(self._owed)

    def _sign(self, now_ns: int) -> None:
        """Sign the log when somebody waits for it, a segment was closed, or it is time."""
        closed = self._spool.closed
        is_time = now_ns - self._signed_ns >= self._sign_interval_ns
        if self._log_full or not (self._hit or closed != self._closed or is_time):
            return
        try:
            self._audit.checkpoint()
        except SpoolFullError as error:  # the entries stand; the next commit tries again
            log.error("log cannot be signed", extra={"detail": str(error)})  # noqa: TRY400
            return
        self._hit, self._closed, self._signed_ns = False, closed, now_ns

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
        return self.clock.now_ms()

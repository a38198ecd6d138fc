"""The sender's road: spool → uplink → receipt → delete, and its log."""

import logging
from dataclasses import dataclass
from typing import Final

from agent.audit import AuditLog, LogReader
from agent.base.clock import Clock, ForwardClock, to_ms
from agent.base.errors import DeviceError, IntegrityError, RefusedError, UplinkError
from agent.base.health import SendCounters
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.pipeline.collector import Collector
from agent.pipeline.deletion import Deletion
from agent.pipeline.delivery import Delivery
from agent.pipeline.turns import is_due, take_turns
from agent.spool import SpoolReader
from agent.trust.backlog import Backlog, SegmentKey
from agent.trust.entries import (
    Deleted,
    DeleteIntent,
    Entry,
    PolicySeen,
    RefusedReceipt,
    Stop,
    UpdateSeen,
    Uploaded,
)
from agent.trust.frames import Damage, Found, encode_frame, frame_hash
from agent.trust.receipts import Receipt, open_receipt, require_receipt_for
from agent.trust.signatures import PublicKey
from agent.trust.uploads import gather_batches

log = logging.getLogger(__name__)

SIGN_INTERVAL_NS: Final = 30_000_000_000
"""How often receipts are signed, and so how often the segments are deleted that they settle: until
then nothing is gone that a receipt speaks of (ADR 0017)."""
DEFERRED: Final = (Uploaded, DeleteIntent, Deleted)
"""Entries that are signed by and by, or before the deed; all others at once."""
ROUND_LIMIT_NS: Final = 10_000_000_000
"""Uploads of a round begin within this, so that hits, age, quota and signals have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the city decided about sending and deleting."""

    unit: str
    receipt_keys: tuple[PublicKey, ...]
    retention_s: dict[Lane, int]
    quota_bytes: dict[Lane, int]
    uploads: bool = True
    """Whether frames may be handed over; False = a newer policy than this one was in force, and
    it alone says where they go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a segment holds."""

    segment: Segment
    frames: dict[bytes, bytes]
    """Whole frames by their hash, in order."""
    damaged_bytes: int

    @property
    def key(self) -> SegmentKey:
        """How the logs name the segment."""
        return self.segment.lane, self.segment.path.stem

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Of all frames, in order."""
        return tuple(self.frames)


class Sending:
    """From a frame in the spool to its receipt and its deletion, every step in the log."""

    def __init__(  # noqa: PLR0913  one argument a stage
        self,
        *,
        terms: Terms,
        spool: SpoolReader,
        watched: LogReader,
        backlog: Backlog,
        uplink: Collector,
        audit: AuditLog,
        clock: Clock,
        batch_interval_s: float = 0.0,
        counters: SendCounters | None = None,
    ) -> None:
        self._batch_interval_s = batch_interval_s
        self._gathering_ms: dict[SegmentKey, int] = {}
        self.counters = counters or SendCounters()
        self.last_receipt_ms: int | None = backlog.city_ms or None
        """The city's time in the newest receipt."""
        self.clock = ForwardClock(clock, max(audit.latest_ms, backlog.city_ms))
        self._terms = terms
        self._spool = spool
        self._watched = watched
        self._backlog = backlog
        self._audit = audit
        self._delivery = Delivery(uplink, watched, proven_size=backlog.known_size)
        self._watcher_stopped = False
        self._due_ns = clock.monotonic_ns()
        """When the log is to be signed, if it grew."""
        self._loose = False
        """Whether an entry waits for a signature."""
        self._done: dict[SegmentKey, tuple[Segment, int]] = {}
        self._deletion = Deletion(
            spool=spool,
            backlog=backlog,
            note=self._note,
            sign=self._sign,
            counters=self.counters,
            clock=self.clock,
        )

    def work(self) -> bool:
        """Do one round: finish old deletions, upload, delete, enforce age and quota.

        Returns:
            Whether the round came to its end; False = more waits, go on at once.

        Raises:
            UplinkError: The city was not reached or refused; age and quota were enforced.
            DeviceError, SpoolFullError, IntegrityError: A log cannot be written or read.
        """
        self._follow()
        self._deletion.finish()
        try:
            return not self._terms.uploads or self._upload_all()
        finally:
            self.tidy()

    def tidy(self) -> None:
        """Enforce age and quota.

        Raises:
            DeviceError, SpoolFullError: The spool cannot be read or the log not be written.
        """
        self._deletion.enforce_age(self._terms.retention_s)
        self._deletion.make_room(self._terms.quota_bytes)
        self.sign_when_due()

    def sign_when_due(self) -> None:
        """Sign the log now and then, and delete what was settled meanwhile.

        Raises:
            DeviceError, SpoolFullError: The log cannot be written.
        """
        now_ns = self.clock.monotonic_ns()
        if now_ns < self._due_ns or not (self._loose or self._deletion.waits):
            return
        if self._deletion.waits:
            self._deletion.delete_settled()
        else:
            self._sign()
        self._due_ns = now_ns + SIGN_INTERVAL_NS

    def is_drained(self) -> bool:
        """Tell whether the watcher has signed off and nothing is left to send."""
        self._follow()
        return self._watcher_stopped and all(map(self._is_done, self._spool.segments()))

    def note(self, entry: PolicySeen | UpdateSeen) -> None:
        """Enter into the log what became of a policy or an update that came."""
        self._note(entry)

    def close(self) -> None:
        """Delete what was settled and sign off."""
        self._deletion.delete_settled()
        counters = self.counters.as_dict()
        self._audit.append(Stop(at_ms=self._now_ms(), counters=counters))
        self._audit.close()

    def _follow(self) -> None:
        """Take in what the watcher signed since."""
        for index, entry in self._watched.follow():
            self._backlog.note_watched(index, entry)
            self.clock.raise_to(entry.at_ms)
            self._watcher_stopped = isinstance(entry, Stop)

    def _upload_all(self) -> bool:
        """Upload what is new; what the city refuses does not hold up the rest.

        Raises:
            UplinkError: The city was not reached, or it refused something.
        """
        until_ns = self.clock.monotonic_ns() + ROUND_LIMIT_NS
        whole, refused = False, None
        segments = self._spool.segments()
        present = {(segment.lane, segment.path.stem) for segment in segments}
        self._done = {key: state for key, state in self._done.items() if key in present}
        self._gathering_ms = {
            key: since_ms for key, since_ms in self._gathering_ms.items() if key in present
        }
        for segment in take_turns(item for item in segments if self._has_news(item)):
            if self.clock.monotonic_ns() > until_ns:
                break
            try:
                self._upload_segment(self._load(segment))
            except RefusedError as error:
                log.error("the city refused", extra={"detail": str(error)})  # noqa: TRY400
                refused = error
        else:
            whole = True
        if refused is not None:
            raise refused
        return whole

    def _has_news(self, segment: Segment) -> bool:
        """Tell whether a segment is to be looked into now: changed, and gathered long enough."""
        since_ms = self._gathering_ms.get((segment.lane, segment.path.stem), segment.first_ms)
        return not self._is_done(segment) and is_due(
            segment.lane,
            closed=segment.closed,
            waited_s=(self._now_ms() - since_ms) / 1000,
            interval_s=self._batch_interval_s,
        )

    def _is_done(self, segment: Segment) -> bool:
        """Tell whether a segment that is still there holds nothing more that could be sent."""
        if self._deletion.is_put_off(segment):
            return True
        key = (segment.lane, segment.path.stem)
        return self._done.get(key) == (segment, self._watched.size)

    def _load(self, segment: Segment) -> Content:
        """Return what a segment holds; one that cannot be read is all damage, and stops nothing."""
        try:
            found = self._spool.frames(segment)
        except DeviceError as error:
            self._deletion.note_unreadable(segment, error)
            return Content(segment=segment, frames={}, damaged_bytes=max(segment.size_bytes, 1))
        whole = [encode_frame(item.frame) for item in found if isinstance(item, Found)]
        damaged = sum(item.length for item in found if isinstance(item, Damage))
        frames = {frame_hash(content): content for content in whole}
        return Content(segment=segment, frames=frames, damaged_bytes=damaged)

    def _upload_segment(self, content: Content) -> None:
        wanted = self._backlog.to_upload(content.key, content.hashes)
        for frames in gather_batches([content.frames[sha256] for sha256 in wanted]):
            self._upload(content.key, frames)
        self._done[content.key] = (content.segment, self._watched.size)
        self._gathering_ms[content.key] = self._now_ms()
        self._delete_settled(content)

    def _upload(self, key: SegmentKey, frames: tuple[bytes, ...]) -> None:
        """Deliver frames; only a receipt for exactly these frames counts."""
        lane, segment = key
        hashes = tuple(frame_hash(frame) for frame in frames)
        standings = self._backlog.standings(key, hashes)
        signed = self._delivery.deliver(segment, frames, standings)
        covering = 1 + max(standing.index for standing in standings)
        receipt = self._verify(key, hashes, signed, covering=covering)
        reads = sum(standing.reads for standing in standings)
        self._note(
            Uploaded(at_ms=self._now_ms(), lane=lane, segment=segment, reads=reads, receipt=signed)
        )
        self.last_receipt_ms = receipt.time_ms
        self.clock.raise_to(receipt.time_ms)
        self._delivery.note_proven(receipt.log_size)
        self._count_upload(lane, len(hashes), reads)

    def _verify(
        self, key: SegmentKey, hashes: tuple[bytes, ...], signed: bytes, *, covering: int
    ) -> Receipt:
        """Return the receipt when it is a true one for these frames.

        Args:
            key: The segment of the frames.
            hashes: Of the frames.
            signed: What the city answered.
            covering: Size of the shortest log that names all of them.

        Raises:
            UplinkError: It is not; the log says why.
        """
        try:
            return require_receipt_for(
                open_receipt(signed, self._terms.receipt_keys),
                unit=self._terms.unit,
                frames=hashes,
                sizes=range(covering, self._watched.size + 1),
                root_at=self._watched.root_at,
            )
        except IntegrityError as error:
            self.counters.receipts_refused += 1
            lane, segment = key
            self._note(
                RefusedReceipt(
                    at_ms=self._now_ms(), lane=lane, segment=segment, detail=str(error)[:200]
                )
            )
            message = f"{error}; the frames stay and are sent again"
            raise UplinkError(message) from error

    def _delete_settled(self, content: Content) -> None:
        """Have a segment deleted when all that it holds has its receipt."""
        settled = self._backlog.is_settled(content.key, content.hashes)
        if settled and content.segment.closed and not content.damaged_bytes:
            self._deletion.put_off(content.segment)

    def _note(self, entry: Entry) -> None:
        self._audit.append(entry)
        self._backlog.note_sent(entry)
        self._loose = True
        if not isinstance(entry, DEFERRED):
            self._sign()

    def _sign(self) -> None:
        self._audit.checkpoint()
        self._loose = False

    def _count_upload(self, lane: Lane, frames: int, reads: int) -> None:
        self.counters.uploads += 1
        self.counters.frames_uploaded += frames
        if lane is Lane.CROPS:
            self.counters.crops_uploaded += reads
        else:
            self.counters.reads_uploaded += reads
        log.info("frames receipted", extra={"lane": lane.label, "frames": frames})

    def _now_ms(self) -> int:
        return to_ms(self.clock.now())

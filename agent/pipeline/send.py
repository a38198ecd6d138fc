"""The sender's road: spool → uplink → receipt → delete, and its log."""

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.audit import AuditLog, LogReader
from agent.base.clock import Clock, ForwardClock, to_ms
from agent.base.errors import DeviceError, IntegrityError, UplinkError
from agent.base.health import SendCounters
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.pipeline.retention import past_retention, surplus
from agent.spool import SpoolReader
from agent.trust.backlog import Backlog, SegmentKey
from agent.trust.entries import (
    Deleted,
    DeleteIntent,
    Entry,
    IoFailure,
    Reason,
    RefusedReceipt,
    Stop,
    Uploaded,
)
from agent.trust.frames import Damage, Found, encode_frame, frame_hash
from agent.trust.receipts import Receipt, open_receipt, require_receipt_for
from agent.trust.signatures import PublicKey
from agent.trust.uploads import Upload, gather_batches
from agent.uplink import Collector, LogPosition, UnverifiedReceipt

log = logging.getLogger(__name__)

FIRST_BACK_OFF_S: Final = 1.0
LOOK_INTERVAL_S: Final = 0.5
"""How often a pause asks whether to end."""
DELIVERIES: Final = 3
"""Tries at finding the part of the log that the city has seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the city decided about sending and deleting."""

    unit: str
    receipt_keys: tuple[PublicKey, ...]
    retention_s: dict[Lane, int]
    quota_bytes: dict[Lane, int]


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


def send_forever(
    sending: "Sending",
    *,
    stop: Callable[[], bool],
    drain: bool,
    poll_interval_s: float,
    max_back_off_s: float,
) -> None:
    """Carry sealed frames to the city and delete what it has receipted, until `stop` says so.

    Args:
        sending: The stages; is closed here.
        stop: Asked between rounds.
        drain: Also end when the watcher has signed off and the spool is empty.
        poll_interval_s: Pause after a round.
        max_back_off_s: Longest pause after failures.

    Raises:
        HomeplateError: A log is damaged or cannot be written: nothing is deleted without account.
    """
    failures = 0
    while not stop():
        try:
            sending.work()
            failures = 0
        except UplinkError as error:
            failures += 1
            sending.counters.failures += 1
            log.warning("delivery failed", extra={"detail": str(error), "failures": failures})
        if drain and not failures and sending.is_drained():
            break
        pause_s = poll_interval_s
        if failures:
            pause_s = back_off_s(failures, limit_s=max_back_off_s, share=random.random())  # noqa: S311
        pause(pause_s, stop=stop, clock=sending.clock)
    sending.close()


def pause(seconds: float, *, stop: Callable[[], bool], clock: Clock) -> None:
    """Let `seconds` pass, or less once `stop` says so: a signal does not cut a sleep short."""
    until_ns = clock.monotonic_ns() + round(seconds * 1e9)
    while not stop() and (left_ns := until_ns - clock.monotonic_ns()) > 0:
        clock.wait_s(min(left_ns / 1e9, LOOK_INTERVAL_S))


def back_off_s(failures: int, *, limit_s: float, share: float) -> float:
    """Return the pause after so many failures in a row: doubling, with full jitter.

    Args:
        failures: At least 1.
        limit_s: Longest pause.
        share: 0 to 1, drawn by the caller; units do not come back all at once.
    """
    longest = min(FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 30), limit_s)
    return longest * (0.1 + 0.9 * share)


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
    ) -> None:
        self.counters = SendCounters()
        self.clock = ForwardClock(clock, max(audit.latest_ms, backlog.city_ms))
        self._terms = terms
        self._spool = spool
        self._watched = watched
        self._backlog = backlog
        self._uplink = uplink
        self._audit = audit
        self._seen_size = backlog.known_size
        self._unreadable: set[SegmentKey] = set()
        self._watcher_stopped = False
        self._done_bytes: dict[SegmentKey, int] = {}

    def work(self) -> None:
        """Do one round: finish old deletions, upload, delete, enforce age and quota.

        Raises:
            UplinkError: The city was not reached or refused; age and quota were enforced.
            DeviceError, SpoolFullError, IntegrityError: A log cannot be written or read.
        """
        self._follow()
        self._finish_deletions()
        try:
            self._upload_all()
        finally:
            self._expire()
            self._make_room()
            self._audit.checkpoint()

    def is_drained(self) -> bool:
        """Tell whether the watcher has signed off and nothing is left to send."""
        self._follow()
        return self._watcher_stopped and not self._spool.segments()

    def close(self) -> None:
        """Sign off."""
        counters = self.counters.as_dict()
        self._audit.append(Stop(at_ms=self._now_ms(), counters=counters))
        self._audit.close()

    def _follow(self) -> None:
        """Take in what the watcher signed since."""
        for entry in self._watched.follow():
            self._backlog.note_watched(entry)
            self.clock.raise_to(entry.at_ms)
            self._watcher_stopped = isinstance(entry, Stop)

    def _upload_all(self) -> None:
        for segment in self._spool.segments():
            done_bytes = self._done_bytes.get((segment.lane, segment.path.stem))
            if segment.closed or done_bytes != segment.size_bytes:  # else nothing new
                self._upload_segment(self._load(segment))

    def _load(self, segment: Segment) -> Content:
        """Return what a segment holds; one that cannot be read is all damage, and stops nothing."""
        try:
            found = self._spool.frames(segment)
        except DeviceError as error:
            key = segment.lane, segment.path.stem
            if key not in self._unreadable:
                self._unreadable.add(key)
                self._note_failure(error)
            return Content(segment=segment, frames={}, damaged_bytes=max(segment.size_bytes, 1))
        whole = [encode_frame(item.frame) for item in found if isinstance(item, Found)]
        damaged = sum(item.length for item in found if isinstance(item, Damage))
        frames = {frame_hash(content): content for content in whole}
        return Content(segment=segment, frames=frames, damaged_bytes=damaged)

    def _upload_segment(self, content: Content) -> None:
        wanted = self._backlog.to_upload(content.key, content.hashes)
        for frames in gather_batches([content.frames[sha256] for sha256 in wanted]):
            self._upload(content.key, frames)
        if not self._backlog.is_settled(content.key, content.hashes):
            return
        self._done_bytes[content.key] = content.segment.size_bytes
        if content.segment.closed and not content.damaged_bytes:
            self._delete(content.segment, "receipt", damaged_bytes=0)

    def _deliver(self, frames: tuple[bytes, ...]) -> bytes:
        """Return the city's answer; when it has seen another part of the log, prove from there."""
        for _ in range(DELIVERIES):
            if not self._watched.has_signed(self._seen_size):
                message = "the watcher has yet to sign again what the city has seen; waiting"
                raise UplinkError(message)
            answer = self._uplink.deliver(
                Upload(
                    frames=frames,
                    checkpoint=self._watched.note,
                    previous_size=self._seen_size,
                    proof=self._watched.prove_from(self._seen_size),
                )
            )
            match answer:
                case UnverifiedReceipt(signed=signed):
                    return signed
                case LogPosition(known_size=known_size):
                    self._seen_size = known_size
        message = "the city's endpoint asks for another part of the log again and again"
        raise UplinkError(message)

    def _upload(self, key: SegmentKey, frames: tuple[bytes, ...]) -> None:
        """Deliver frames; only a receipt for exactly these frames counts."""
        hashes = tuple(frame_hash(frame) for frame in frames)
        signed = self._deliver(frames)
        receipt = self._verify(key, hashes, signed)
        reads = self._backlog.reads_in(key, hashes)
        lane, segment = key
        self._note(
            Uploaded(at_ms=self._now_ms(), lane=lane, segment=segment, reads=reads, receipt=signed)
        )
        self.clock.raise_to(receipt.time_ms)
        self._acknowledge(receipt.log_size)
        self._count_upload(lane, len(hashes), reads)

    def _acknowledge(self, log_size: int) -> None:
        self._seen_size = log_size
        self._watched.acknowledge(log_size)

    def _verify(self, key: SegmentKey, hashes: tuple[bytes, ...], signed: bytes) -> Receipt:
        try:
            receipt = open_receipt(signed, self._terms.receipt_keys)
            return require_receipt_for(receipt, unit=self._terms.unit, frames=hashes)
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

    def _delete(self, segment: Segment, reason: Reason, *, damaged_bytes: int) -> None:
        """Announce, delete, report: a power cut between the steps leaves no doubt."""
        name = segment.path.stem
        self._note(
            DeleteIntent(
                at_ms=self._now_ms(),
                lane=segment.lane,
                segment=name,
                reason=reason,
                damaged_bytes=damaged_bytes,
            )
        )
        try:
            self._spool.delete(segment)
        except DeviceError as error:
            self._note_failure(error)
            return
        self._note(Deleted(at_ms=self._now_ms(), lane=segment.lane, segment=name, reason=reason))
        self._done_bytes.pop((segment.lane, name), None)
        self.counters.segments_deleted += 1

    def _finish_deletions(self) -> None:
        """Complete what was announced before a restart or an error."""
        present = {(item.lane, item.path.stem): item for item in self._spool.segments()}
        for intent in self._backlog.unfinished():
            segment = present.get((intent.lane, intent.segment))
            if segment is not None:
                self._delete(segment, intent.reason, damaged_bytes=intent.damaged_bytes)
            elif self._is_gone_for_good(intent.lane):
                self._note(
                    Deleted(
                        at_ms=self._now_ms(),
                        lane=intent.lane,
                        segment=intent.segment,
                        reason=intent.reason,
                    )
                )

    def _is_gone_for_good(self, lane: Lane) -> bool:
        """Sync what is gone from a lane: who removed it may have ended before."""
        try:
            self._spool.sync_deletions(lane)
        except DeviceError as error:
            self._note_failure(error)
            return False
        return True

    def _expire(self) -> None:
        """Delete segments whose retention is over, receipted or not."""
        segments = self._spool.segments()
        for segment in past_retention(segments, self._terms.retention_s, now_ms=self._now_ms()):
            self.counters.expired += 1
            self.counters.reads_expired += self._give_up(segment, "expired")

    def _make_room(self) -> None:
        """Delete the oldest segments where a lane is near its quota or the disk nearly full."""
        segments, room = self._spool.segments(), self._spool.room_bytes()
        for segment in surplus(segments, self._terms.quota_bytes, room_bytes=room):
            self.counters.quota += 1
            self.counters.reads_dropped += self._give_up(segment, "quota")

    def _give_up(self, segment: Segment, reason: Reason) -> int:
        """Delete a segment and return how many reads in it the city never got."""
        content = self._load(segment)
        unsent = self._backlog.to_upload(content.key, content.hashes)
        reads = self._backlog.reads_in(content.key, unsent)
        told = {"lane": segment.lane.label, "reason": reason, "reads": reads}
        log.warning("segment given up", extra=told)
        self._delete(segment, reason, damaged_bytes=content.damaged_bytes)
        return reads

    def _note_failure(self, error: DeviceError) -> None:
        log.error("disk failed", extra={"detail": str(error)})
        self._note(IoFailure(at_ms=self._now_ms(), place="spool", detail=str(error)[:200]))

    def _note(self, entry: Entry) -> None:
        self._audit.append(entry)
        self._backlog.note_sent(entry)

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

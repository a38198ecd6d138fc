"""The conservation of reads: what was recorded is uploaded, present, expired, dropped or lost.

Arithmetic over the entries of both logs and the frames found in the spool; whatever does not add
up is a finding with a name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.backlog import SegmentKey
from agent.trust.entries import Deleted, DeleteIntent, Dropped, Entry, Sealed, Uploaded
from agent.trust.receipts import Receipt, peek_receipt

Fate = Literal["uploaded", "present", "expired", "dropped", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that an honest unit does not leave behind."""

    reason: str
    """One word for machines."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentContent:
    """What was found in a segment on disk."""

    frames: frozenset[bytes]
    """Frame hashes."""
    closed: bool
    damaged_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBalance:
    """Both sides of the equation for one lane, in reads (in the lane crops: in crops)."""

    lane: Lane
    recorded: int
    uploaded: int = 0
    present: int = 0
    expired: int = 0
    dropped: int = 0
    lost: int = 0

    @property
    def balances(self) -> bool:
        """Whether all that was recorded is accounted for."""
        accounted = self.uploaded + self.present + self.expired + self.dropped + self.lost
        return self.recorded == accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An upload as the sender logged it, and what its receipt says (signature not looked at)."""

    entry: Uploaded
    receipt: Receipt


@dataclass(slots=True)
class Book:
    """What the two logs say, by what it is about."""

    sealed: list[Sealed] = field(default_factory=list)
    recent: list[Sealed] = field(default_factory=list)
    """Sealed while the spool was being looked at: known, but not part of the balance."""
    dropped: list[Dropped] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    intents: dict[SegmentKey, DeleteIntent] = field(default_factory=dict)
    deleted: dict[SegmentKey, Deleted] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def enter(self, entry: Entry) -> None:
        """Take in an entry of either log; each log in its order."""
        match entry:
            case Sealed():
                self.sealed.append(entry)
            case Dropped():
                self.dropped.append(entry)
            case Uploaded():
                self._enter_upload(entry)
            case DeleteIntent(lane=lane, segment=segment):
                self.intents[lane, segment] = entry
            case Deleted(lane=lane, segment=segment):
                if (lane, segment) not in self.intents:
                    detail = f"segment {lane.label}/{segment} was deleted but never announced"
                    self.findings.append(Finding(reason="deletion-without-intent", detail=detail))
                self.deleted[lane, segment] = entry
            case _:
                pass

    def enter_recent(self, entry: Entry) -> None:
        """Take in an entry that the watcher wrote after the spool was looked at."""
        if isinstance(entry, Sealed):
            self.recent.append(entry)

    @property
    def logged(self) -> frozenset[bytes]:
        """Hashes of all frames that the watcher logged."""
        return frozenset(entry.frame for entry in (*self.sealed, *self.recent))

    def _enter_upload(self, entry: Uploaded) -> None:
        try:
            claim = Claim(entry=entry, receipt=peek_receipt(entry.receipt))
        except IntegrityError as error:
            self.findings.append(Finding(reason="receipt-malformed", detail=str(error)))
        else:
            self.claims.append(claim)


def balance_reads(
    book: Book, spool: Mapping[SegmentKey, SegmentContent]
) -> tuple[tuple[LaneBalance, ...], tuple[Finding, ...]]:
    """Return the equation of each lane, and what does not add up."""
    uploaded = {frame for claim in book.claims for frame in claim.receipt.frames}
    present = frozenset().union(*(content.frames for content in spool.values()))
    counts: dict[tuple[Lane, str], int] = defaultdict(int)
    missing: dict[tuple[SegmentKey, str], list[Sealed]] = defaultdict(list)
    for entry in book.sealed:
        key = (entry.lane, entry.segment)
        fate = _fate(entry, uploaded, present, book.intents.get(key))
        counts[entry.lane, "recorded"] += entry.reads
        if fate is None:
            missing[key, _why_missing(key, spool, book)].append(entry)
        else:
            counts[entry.lane, fate] += entry.reads
    for drop in book.dropped:
        counts[drop.lane, "recorded"] += drop.count
        counts[drop.lane, "dropped"] += drop.count
    lanes = tuple(_lane_balance(lane, counts) for lane in Lane)
    return lanes, tuple(_missing_finding(*item) for item in missing.items())


def check_spool(book: Book, spool: Mapping[SegmentKey, SegmentContent]) -> tuple[Finding, ...]:
    """Return what is in the spool that the log does not know.

    A frame that is stored but not yet logged may stand in an open segment: a commit is stored
    first, then logged.
    """
    logged = book.logged
    findings = []
    for (lane, segment), content in spool.items():
        strangers = len(content.frames - logged)
        if strangers and content.closed:
            detail = f"{strangers} frames in {lane.label}/{segment} that the log does not know"
            findings.append(Finding(reason="unlogged-frame", detail=detail))
    return tuple(findings)


def count_uncommitted(book: Book, spool: Mapping[SegmentKey, SegmentContent]) -> int:
    """Return how many frames in open segments the log does not know yet."""
    logged = book.logged
    return sum(len(item.frames - logged) for item in spool.values() if not item.closed)


def check_sequences(book: Book) -> tuple[Finding, ...]:
    """Return where the sequences of a start and lane have a hole or are used twice."""
    spans: dict[tuple[bytes, Lane], list[tuple[int, int]]] = defaultdict(list)
    for entry in book.sealed:
        spans[entry.boot, entry.lane].append((entry.first, entry.last))
    for drop in book.dropped:
        if drop.first is not None and drop.count:
            spans[drop.boot, drop.lane].append((drop.first, drop.first + drop.count - 1))
    return tuple(
        finding
        for (boot, lane), found in spans.items()
        for finding in _check_spans(f"boot {boot.hex()[:8]} lane {lane.label}", sorted(found))
    )


def check_uploads(book: Book) -> tuple[Finding, ...]:
    """Return uploads of frames that were never sealed, or with another count of reads."""
    sealed = (*book.sealed, *book.recent)
    reads = {(entry.lane, entry.segment, entry.frame): entry.reads for entry in sealed}
    findings = []
    for claim in book.claims:
        entry = claim.entry
        counts = [reads.get((entry.lane, entry.segment, frame)) for frame in claim.receipt.frames]
        place = f"an upload of {entry.lane.label}/{entry.segment}"
        if None in counts:
            detail = f"{place} holds a frame that was never logged as sealed there"
            findings.append(Finding(reason="upload-unlogged", detail=detail))
        elif sum(count or 0 for count in counts) != entry.reads:
            detail = f"{place} is logged with {entry.reads} reads; its frames hold others"
            findings.append(Finding(reason="upload-count", detail=detail))
    return tuple(findings)


def _fate(
    entry: Sealed, uploaded: set[bytes], present: frozenset[bytes], intent: DeleteIntent | None
) -> Fate | None:
    """Return what became of a frame; None when nothing explains that it is gone."""
    if entry.frame in uploaded:
        return "uploaded"
    if entry.frame in present:
        return "present"
    if intent is None:
        return None
    if intent.reason == "receipt":
        return "lost" if intent.damaged_bytes else None
    return "expired" if intent.reason == "expired" else "dropped"


def _why_missing(key: SegmentKey, spool: Mapping[SegmentKey, SegmentContent], book: Book) -> str:
    if key in spool:
        return "damaged-frame"
    return "deleted-without-receipt" if key in book.intents else "missing-segment"


def _missing_finding(key: tuple[SegmentKey, str], entries: list[Sealed]) -> Finding:
    (lane, segment), reason = key
    reads = sum(entry.reads for entry in entries)
    how = {
        "damaged-frame": "cannot be read in the spool any more",
        "deleted-without-receipt": "were deleted after a receipt that does not name them",
        "missing-segment": "are gone, and no log entry says why",
    }[reason]
    detail = f"{len(entries)} frames with {reads} reads of {lane.label}/{segment} {how}"
    return Finding(reason=reason, detail=detail)


def _lane_balance(lane: Lane, counts: Mapping[tuple[Lane, str], int]) -> LaneBalance:
    return LaneBalance(
        lane=lane,
        recorded=counts[lane, "recorded"],
        uploaded=counts[lane, "uploaded"],
        present=counts[lane, "present"],
        expired=counts[lane, "expired"],
        dropped=counts[lane, "dropped"],
        lost=counts[lane, "lost"],
    )


def _check_spans(place: str, spans: Iterable[tuple[int, int]]) -> Iterable[Finding]:
    expected = 0
    for first, last in spans:
        if first > expected:
            detail = f"{place}: sequences {expected} to {first - 1} are in no entry"
            yield Finding(reason="sequence-gap", detail=detail)
        elif first < expected:
            detail = f"{place}: sequence {first} stands in two entries"
            yield Finding(reason="sequence-twice", detail=detail)
        expected = max(expected, last + 1)

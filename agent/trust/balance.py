"""The conservation of reads: what was recorded is uploaded, present, expired, dropped or lost.

Arithmetic over the entries of both logs and the frames found in the spool; whatever does not add
up is a finding with a name.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.backlog import SegmentKey
from agent.trust.entries import Boot, Deleted, DeleteIntent, Dropped, Entry, Sealed, Uploaded
from agent.trust.receipts import Receipt, peek_receipt

_BOOT = attrgetter("boot")
_UNLOGGED: Final = ("unlogged-frame", "that the log does not know")
_GIVEN_UP: Final = ("given-up-frame", "that the log calls dropped: an ill disk brought them back")
Fate = Literal["uploaded", "present", "expired", "dropped", "lost"]
Frames = dict[bytes, int]
"""Reads (or crops) in frames, by frame hash, in the order of the log."""


Severity = Literal["fault", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that an auditor must know."""

    reason: str
    """One word for machines."""
    detail: str
    severity: Severity = "fault"
    """A fault is what an honest unit does not leave behind; a warning, what a crash leaves, and
    what nobody could tell from it."""


class Origin(NamedTuple):
    """Whose frame it is, as its header says."""

    unit: str
    boot: bytes
    first: int
    """Sequence of its first read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentContent:
    """What was found in a segment on disk."""

    frames: Mapping[bytes, Origin]
    """By frame hash."""
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


class Claim(NamedTuple):
    """An upload as the sender logged it, and what its receipt says (signature not looked at)."""

    entry: Uploaded
    receipt: Receipt


@dataclass(slots=True)
class Book:
    """What the two logs say, by what it is about."""

    boots: set[bytes] = field(default_factory=set)
    """Starts that the logs know."""
    sealed: dict[SegmentKey, Frames] = field(default_factory=lambda: defaultdict(dict))
    """By segment; the entries themselves, a quarter million a day, are not kept."""
    recent: dict[SegmentKey, Frames] = field(default_factory=lambda: defaultdict(dict))
    """Sealed while the spool was being looked at: known, but not part of the balance."""
    spans: dict[tuple[bytes, Lane], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """First and last sequences of frames, by start and lane; frames without a hole are one."""
    dropped: list[Dropped] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    uploaded: dict[SegmentKey, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    """Hashes of frames with a receipt, by segment."""
    intents: dict[SegmentKey, DeleteIntent] = field(default_factory=dict)
    deleted: dict[SegmentKey, Deleted] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def enter(self, entries: Sequence[Entry]) -> None:
        """Take in entries of either log; each log in its order."""
        for lane, sealed in _by_lane(entries):
            self._enter_sealed(lane, sealed, self.sealed)
            for boot, part in _by_start(sealed):
                self.spans[boot, lane] += _spans_of(part)
        for entry in entries:
            if type(entry) is not Sealed:
                self._enter_other(entry)

    def _enter_sealed(
        self, lane: Lane, sealed: Iterable[Sealed], by_segment: dict[SegmentKey, Frames]
    ) -> None:
        segment, frames = "", Frames()
        for entry in sealed:
            if entry.segment != segment:
                segment = entry.segment
                frames = by_segment[lane, segment]
            if entry.frame in frames:
                detail = f"a frame of {lane.label}/{segment} is logged twice"
                self.findings.append(Finding(reason="frame-twice", detail=detail))
            frames[entry.frame] = entry.last - entry.first + 1

    def _enter_other(self, entry: Entry) -> None:
        if isinstance(entry, Uploaded):
            self._enter_upload(entry)
        elif isinstance(entry, DeleteIntent):
            self.intents[entry.lane, entry.segment] = entry
        elif isinstance(entry, Deleted):
            self._enter_deletion(entry)
        elif isinstance(entry, Boot):
            self.boots.add(entry.boot)
        elif isinstance(entry, Dropped):
            self.dropped.append(entry)

    def enter_recent(self, entries: Sequence[Entry]) -> None:
        """Take in entries that the watcher wrote after the spool was looked at."""
        for lane, sealed in _by_lane(entries):
            self._enter_sealed(lane, sealed, self.recent)
        self.boots |= {entry.boot for entry in entries if isinstance(entry, Boot)}

    def logged(self) -> set[bytes]:
        """Return the hashes of all frames that the watcher logged."""
        return set().union(*self.sealed.values(), *self.recent.values())

    def _enter_deletion(self, entry: Deleted) -> None:
        lane, segment = entry.lane, entry.segment
        if (lane, segment) not in self.intents:
            detail = f"segment {lane.label}/{segment} was deleted but never announced"
            self.findings.append(Finding(reason="deletion-without-intent", detail=detail))
        self.deleted[lane, segment] = entry

    def _enter_upload(self, entry: Uploaded) -> None:
        try:
            claim = Claim(entry, peek_receipt(entry.receipt))
        except IntegrityError as error:
            self.findings.append(Finding(reason="receipt-malformed", detail=str(error)))
        else:
            self.claims.append(claim)
            self.uploaded[entry.lane, entry.segment].update(claim.receipt.frames)


def balance_reads(
    book: Book, spool: Mapping[SegmentKey, SegmentContent]
) -> tuple[tuple[LaneBalance, ...], tuple[Finding, ...]]:
    """Return the equation of each lane, and what does not add up."""
    present: set[bytes] = set().union(*(content.frames for content in spool.values()))
    counts: dict[tuple[Lane, str], int] = defaultdict(int)
    missing: dict[tuple[SegmentKey, str], list[int]] = defaultdict(list)
    for key, frames in book.sealed.items():
        lane, rest = key[0], _without(frames, book.uploaded.get(key, set()))
        recorded = sum(frames.values())
        counts[lane, "recorded"] += recorded
        counts[lane, "uploaded"] += recorded - sum(rest.values())
        for frame, reads in rest.items():
            fate = _fate(frame, present, book.intents.get(key))
            if fate is None:
                missing[key, _why_missing(key, spool, book)].append(reads)
            else:
                counts[lane, fate] += reads
    for drop in book.dropped:
        counts[drop.lane, "recorded"] += drop.count
        counts[drop.lane, "dropped"] += drop.count
    lanes = tuple(_lane_balance(lane, counts) for lane in Lane)
    return lanes, tuple(_missing_finding(*item) for item in missing.items())


def check_spool(
    book: Book,
    logged: Collection[bytes],
    spool: Mapping[SegmentKey, SegmentContent],
    *,
    unit: str,
) -> tuple[Finding, ...]:
    """Return what is in the spool that is not this unit's, or that its log does not know.

    A frame that is stored but not yet logged may stand in an open segment: a commit is stored
    first, then logged.
    """
    findings = []
    for (lane, segment), content in spool.items():
        unlogged = {frame for frame in content.frames if content.closed and frame not in logged}
        strange = Counter(
            _what_is_strange(origin, unit, book.boots) or _why_unlogged(lane, origin, book)
            for frame, origin in content.frames.items()
            if frame in unlogged or _what_is_strange(origin, unit, book.boots)
        )
        for (reason, how), count in strange.items():
            detail = f"{count} frames in {lane.label}/{segment} {how}"
            severity: Severity = "warning" if reason == _GIVEN_UP[0] else "fault"
            findings.append(Finding(reason=reason, detail=detail, severity=severity))
    return tuple(findings)


def _why_unlogged(lane: Lane, origin: Origin, book: Book) -> tuple[str, str]:
    """Return reason and text for a frame that no `sealed` entry names."""
    given_up = any(
        (drop.lane, drop.boot) == (lane, origin.boot)
        and drop.first is not None
        and drop.first <= origin.first < drop.first + drop.count
        for drop in book.dropped
    )
    return _GIVEN_UP if given_up else _UNLOGGED


def _what_is_strange(origin: Origin, unit: str, boots: Collection[bytes]) -> tuple[str, str] | None:
    """Return reason and text of what is wrong with where a frame comes from."""
    if origin.unit != unit:
        return "foreign-frame", f"are of the unit {origin.unit}"
    if origin.boot not in boots:
        return "unknown-start", f"are of the start {origin.boot.hex()[:8]}, unknown to the log"
    return None


def count_uncommitted(logged: Collection[bytes], spool: Mapping[SegmentKey, SegmentContent]) -> int:
    """Return how many frames in open segments the log does not know yet."""
    parts = (content.frames for content in spool.values() if not content.closed)
    return sum(frame not in logged for part in parts for frame in part)


def check_sequences(book: Book) -> tuple[Finding, ...]:
    """Return where the sequences of a start and lane have a hole or are used twice."""
    spans: dict[tuple[bytes, Lane], list[tuple[int, int]]] = defaultdict(list)
    for drop in book.dropped:
        if drop.first is not None and drop.count:
            spans[drop.boot, drop.lane].append((drop.first, drop.first + drop.count - 1))
    for owner, found in book.spans.items():
        spans[owner] += found
    return tuple(
        finding
        for (boot, lane), found in spans.items()
        for finding in _check_spans(f"boot {boot.hex()[:8]} lane {lane.label}", sorted(found))
    )


def check_uploads(book: Book) -> tuple[Finding, ...]:
    """Return uploads of frames that were never sealed, or with another count of reads."""
    findings = []
    for claim in book.claims:
        entry, frames = claim.entry, claim.receipt.frames
        key = (entry.lane, entry.segment)
        sealed = book.sealed.get(key, {})
        if key in book.recent:
            sealed = sealed | book.recent[key]
        try:
            reads = sum(map(sealed.__getitem__, frames))
        except KeyError:
            detail = f"{_place_of(entry)} holds a frame that was never logged as sealed there"
            findings.append(Finding(reason="upload-unlogged", detail=detail))
            continue
        if reads != entry.reads:
            detail = (
                f"{_place_of(entry)} is logged with {entry.reads} reads; its frames hold others"
            )
            findings.append(Finding(reason="upload-count", detail=detail))
    return tuple(findings)


def _place_of(entry: Uploaded) -> str:
    return f"an upload of {entry.lane.label}/{entry.segment}"


def _by_lane(entries: Sequence[Entry]) -> Iterable[tuple[Lane, list[Sealed]]]:
    """Yield the sealed ones of each lane, in their order."""
    sealed = [entry for entry in entries if type(entry) is Sealed]
    for lane in Lane:
        yield lane, [entry for entry in sealed if entry.lane is lane]


def _by_start(sealed: list[Sealed]) -> Iterable[tuple[bytes, list[Sealed]]]:
    """Yield what each start sealed; mostly there is one."""
    if len({entry.boot for entry in sealed}) == 1:
        yield sealed[0].boot, sealed
    else:
        for boot, part in groupby(sealed, _BOOT):
            yield boot, list(part)


def _spans_of(sealed: list[Sealed]) -> list[tuple[int, int]]:
    """Return the sequences of frames: one span where each begins after the end of the last."""
    begins = [entry.first for entry in sealed]
    ends = [entry.last + 1 for entry in sealed]
    if begins[1:] == ends[:-1]:
        return [(begins[0], ends[-1] - 1)]
    return [(entry.first, entry.last) for entry in sealed]


def _without(frames: Frames, uploaded: set[bytes]) -> Frames:
    """Return the frames that were not uploaded; mostly none."""
    if uploaded.issuperset(frames):
        return {}
    return {frame: reads for frame, reads in frames.items() if frame not in uploaded}


def _fate(frame: bytes, present: set[bytes], intent: DeleteIntent | None) -> Fate | None:
    """Return what became of a frame not uploaded; None when nothing explains that it is gone."""
    if frame in present:
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


def _missing_finding(key: tuple[SegmentKey, str], reads: list[int]) -> Finding:
    (lane, segment), reason = key
    how = {
        "damaged-frame": "cannot be read in the spool any more",
        "deleted-without-receipt": "were deleted after a receipt that does not name them",
        "missing-segment": "are gone, and no log entry says why",
    }[reason]
    detail = f"{len(reads)} frames with {sum(reads)} reads of {lane.label}/{segment} {how}"
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

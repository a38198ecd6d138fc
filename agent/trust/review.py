"""An auditor's look at one log: every entry, every signature, every root."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from agent.base.clock import from_ms
from agent.base.errors import IntegrityError
from agent.trust.backlog import SegmentKey
from agent.trust.balance import Claim, Finding, Severity
from agent.trust.entries import DeleteIntent, Entry, Stop, decode_entries, decode_entry, times_of
from agent.trust.journal import find_records
from agent.trust.merkle import EMPTY_ROOT, Tree, leaf_hashes
from agent.trust.notes import (
    NO_NOTE,
    Checkpoint,
    note_hash,
    open_checkpoint,
    read_bound,
    unsigned_limit_ms,
)
from agent.trust.receipts import Receipt, open_receipt, receipt_hash
from agent.trust.signatures import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContent:
    """A log as it lies on the disk."""

    entries: Iterable[list[bytes]]
    """Contents of the whole records that stood there before the notes were read, in order, many at
    a time."""
    recent: Iterable[list[bytes]]
    """Of those that came since."""
    notes: tuple[str, ...]
    """The whole checkpoints, in order."""
    lengths: Callable[[], tuple[int, int]]
    """Bytes of whole records, and bytes after the last; asked once the entries were taken."""
    rest: Callable[[], bytes]
    """What stands after the last whole record; asked with the lengths."""


@dataclass(slots=True)
class LogReview:
    """What was found in one log."""

    origin: str
    size: int = 0
    root: bytes = EMPTY_ROOT
    whole_bytes: int = 0
    """Of its entries."""
    loose_bytes: int = 0
    """At the end, of no whole entry: a write in progress, or cut off."""
    checkpoints: int = 0
    signed_size: int = 0
    tail: list[Entry] = field(default_factory=list)
    """Entries behind the last checkpoint, but for recent ones."""
    types: Counter[type[Entry]] = field(default_factory=Counter)
    """Entries by their class."""
    roots: dict[int, bytes] = field(default_factory=dict)
    """By size, where asked for."""
    ended: bool = False
    """Whether its last entry says that the process ended in good order."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[str]:
        """Entries by kind."""
        return Counter({str(kind.__struct_config__.tag): n for kind, n in self.types.items()})

    @property
    def unsigned(self) -> int:
        """Entries after the last checkpoint: of a process that runs, or was cut off."""
        return max(self.size - self.signed_size, 0)

    def find(self, reason: str, detail: str, severity: Severity = "fault") -> None:
        """Add a finding."""
        detail = f"{self.origin}: {detail}"
        self.findings.append(Finding(reason=reason, detail=detail, severity=severity))


def review_log(
    content: LogContent,
    *,
    key: PublicKey,
    origin: str,
    sizes: Collection[int] = (),
    enter: Callable[[list[Entry]], None],
) -> LogReview:
    """Return what is in a log and what is wrong with it.

    Args:
        content: The log.
        key: The log's public key.
        origin: The log's name.
        sizes: At which the roots are wanted too.
        enter: Is given all entries, many at a time.
    """
    review = LogReview(origin)
    heads = _open_notes(review, content.notes, key)
    review.signed_size = max((head.size for head in heads), default=0)
    _read_entries(review, content, {head.size for head in heads}.union(sizes), enter)
    review.whole_bytes, review.loose_bytes = content.lengths()
    _compare_heads(review, heads)
    _judge_end(review, content.rest())
    return review


def review_receipts(
    claims: Sequence[Claim], *, keys: Sequence[PublicKey], unit: str, watch: LogReview
) -> tuple[int, tuple[Finding, ...]]:
    """Return the number of receipts that hold, and what is wrong with the others.

    From the newest back: a receipt whose hash a verified one states is held in place, all of its
    bytes, by that one's signature; so one signature is verified for each gap in what the unit got.

    Args:
        claims: The uploads in the sender's log.
        keys: That the city signs receipts with.
        unit: Whose receipts they must be.
        watch: With the roots at the sizes that the receipts name.
    """
    good, findings = 0, []
    stated: set[bytes] = set()
    for number in range(len(claims), 0, -1):
        claim = claims[number - 1]
        try:
            if receipt_hash(claim.entry.receipt) not in stated:
                open_receipt(claim.entry.receipt, keys)
        except IntegrityError as error:
            detail = f"receipt {number}: {error}"
            findings.append(Finding(reason="receipt-signature", detail=detail))
            continue
        stated.add(claim.receipt.previous)
        wrong = _check_receipt(claim.receipt, unit, watch)
        good += wrong is None
        if wrong is not None:
            detail = f"receipt {number}: {wrong.detail}"
            findings.append(Finding(reason=wrong.reason, detail=detail))
    return good, tuple(findings[::-1])


def _open_notes(review: LogReview, notes: Sequence[str], key: PublicKey) -> list[Checkpoint]:
    """Return the checkpoints that the key signed; the others become findings.

    From the newest back: a note whose hash a verified later one states is held in place, all of
    its bytes, by that one's signature. Only where the chain begins or breaks is the note's own
    signature verified.
    """
    heads: list[Checkpoint] = []
    stated = b""
    for number in range(len(notes), 0, -1):
        note = notes[number - 1]
        bound = note_hash(note) == stated
        try:
            head = _open_note(note, key, review.origin, bound=bound)
        except IntegrityError as error:
            review.find("checkpoint-signature", f"checkpoint {number}: {error}")
            stated = b""
            continue
        if stated and not bound:
            review.find("checkpoint-chain", f"checkpoint {number} is not the one before the next")
        if head.number != number:
            review.find("checkpoint-missing", f"found checkpoint {head.number}; expected {number}")
        stated = head.previous
        heads.append(head)
    if heads and stated != NO_NOTE:
        review.find("checkpoint-missing", "the first checkpoint names one before it")
    review.checkpoints = len(heads)
    return heads[::-1]


def _open_note(note: str, key: PublicKey, origin: str, *, bound: bool) -> Checkpoint:
    """Return the checkpoint in a note; a bound one needs no signature of its own."""
    if not bound:
        return open_checkpoint(note, (key,), origin=origin)
    head = read_bound(note)
    if head.origin != origin:
        message = f"checkpoint of {head.origin}; expected {origin}"
        raise IntegrityError(message)
    return head


def _read_entries(
    review: LogReview,
    content: LogContent,
    sizes: Collection[int],
    enter: Callable[[list[Entry]], None],
) -> None:
    tree = Tree()
    wanted = deque(sorted(sizes))
    last: Entry | None = None
    stood = ((contents, True) for contents in content.entries)
    came = ((contents, False) for contents in content.recent)
    for contents, counts in chain(stood, came):
        found = _decode_entries(review, contents, tree.size)
        if counts and tree.size + len(found) > review.signed_size:
            review.tail += found[max(review.signed_size - tree.size, 0) :]
        _grow(tree, leaf_hashes(contents), wanted, review.roots)
        review.types.update(map(type, found))
        enter(found)
        last = found[-1] if found else last
    review.size, review.root = tree.size, tree.root()
    review.ended = isinstance(last, Stop)


def _decode_entries(review: LogReview, contents: list[bytes], first: int) -> list[Entry]:
    """Return the entries; each that is none becomes a finding."""
    try:
        return decode_entries(contents)
    except IntegrityError:  # rare: find out which
        pass
    found = []
    for number, content in enumerate(contents, start=first):
        try:
            found.append(decode_entry(content))
        except IntegrityError as error:
            review.find("entry-malformed", f"entry {number}: {error}")
    return found


def _grow(tree: Tree, leaves: Sequence[bytes], wanted: deque[int], roots: dict[int, bytes]) -> None:
    """Add leaves to the tree; keep its roots at the sizes that are wanted.

    Args:
        tree: Grows.
        leaves: New ones.
        wanted: Sizes, smallest first; those that are reached are taken out.
        roots: Takes the roots, by size.
    """
    reached = []
    while wanted and wanted[0] <= tree.size + len(leaves):
        reached.append(wanted.popleft())
    roots.update(zip(reached, tree.extend(leaves, reached), strict=True))


def _compare_heads(review: LogReview, heads: Sequence[Checkpoint]) -> None:
    """Hold the entries against what was signed."""
    for earlier, head in pairwise(heads):
        if head.size < earlier.size:
            review.find("checkpoint-order", f"checkpoint {head.number} is of a shorter log")
    for head in heads:
        if head.size <= review.size and head.root != review.roots.get(head.size, EMPTY_ROOT):
            review.find("checkpoint-root", f"entries are not those of checkpoint {head.number}")
            break
    if review.signed_size > review.size:
        place = f"entry {review.size} at byte {review.whole_bytes} of the entries"
        signed = f"{review.signed_size} entries are signed"
        if review.loose_bytes:
            review.find("entry-damaged", f"{place} is not whole; {signed}")
        else:
            review.find("log-truncated", f"{place} is missing; {signed}")


def _judge_end(review: LogReview, rest: bytes) -> None:
    """Tell what nobody has signed: of a process that runs, or that a crash cut off.

    Args:
        review: Takes the findings.
        rest: What stands behind the last whole entry.
    """
    if review.signed_size > review.size:
        return
    if behind := len(find_records(rest)):
        place = f"entry {review.size} at byte {review.whole_bytes} of the entries"
        detail = f"{place} is not whole; {behind} whole ones stand behind it, none of them signed"
        review.find("tail-damaged", detail, "warning")
    if review.ended and review.unsigned:
        detail = f"signed off, but the last {review.unsigned} entries are not signed"
        review.find("unsigned-end", detail)
    elif review.tail:
        begin_ms, end_ms = times_of(review.tail)
        detail = (
            f"the last {len(review.tail)} entries, from {_tell_time(begin_ms)} to "
            f"{_tell_time(end_ms)}, are not signed: they may have been changed or others removed"
        )
        limit_ms = unsigned_limit_ms(review.origin)
        if end_ms - begin_ms > limit_ms:
            detail += f"; no unit leaves more than {limit_ms // 1000} s unsigned"
            review.find("unsigned-too-long", detail)
        else:
            review.find("unsigned-tail", detail, "warning")


def _tell_time(at_ms: int) -> str:
    return from_ms(at_ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def check_unsigned_deletions(send: LogReview, spool: Collection[SegmentKey]) -> tuple[Finding, ...]:
    """Return segments that are gone though nothing signed announces it.

    A unit signs each announcement before it removes anything: these were taken by somebody else.

    Args:
        send: The sender's log.
        spool: Segments that are there.
    """
    return tuple(
        Finding(
            reason="unsigned-deletion",
            detail=(
                f"{send.origin}: segment {entry.lane.label}/{entry.segment} is gone, and the entry "
                "that announces it is not signed"
            ),
        )
        for entry in send.tail
        if isinstance(entry, DeleteIntent) and (entry.lane, entry.segment) not in spool
    )


def _check_receipt(receipt: Receipt, unit: str, watch: LogReview) -> Finding | None:
    """Return what is wrong with a receipt that the city signed."""
    if receipt.unit != unit:
        return Finding(reason="receipt-unit", detail=f"is for the unit {receipt.unit}")
    if receipt.log_size > watch.size:
        detail = f"the city has seen {receipt.log_size} entries; the log has {watch.size}"
        return Finding(reason="log-truncated", detail=detail)
    if receipt.log_root != watch.roots.get(receipt.log_size):
        detail = f"the city has seen another log of {receipt.log_size} entries"
        return Finding(reason="receipt-head", detail=detail)
    return None

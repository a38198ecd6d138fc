"""What `homeplate audit verify` tells: a table for people, an object for machines."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from agent.trust.backlog import SegmentKey
from agent.trust.balance import Book, Finding, LaneBalance, SegmentContent
from agent.trust.review import LogReview

TOLD = 3
"""Findings of one reason that are told; one damaged place may show in many."""
_REASONS = ("receipt", "expired", "quota", "retired")
_FATES = ("uploaded", "present", "expired", "dropped", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was found."""

    unit: str
    watch: LogReview
    send: LogReview
    book: Book
    lanes: tuple[LaneBalance, ...]
    receipts: int
    """Those that hold."""
    spool: Mapping[SegmentKey, SegmentContent]
    uncommitted: int
    """Frames that were stored and not yet logged when the copy was made."""
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that no honest unit leaves."""
        return tuple(finding for finding in self.findings if finding.severity == "fault")

    @property
    def passes(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def deletions(self) -> Counter[str]:
        """Segments by reason."""
        return Counter(entry.reason for entry in self.book.deleted.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What an auditor should know although it is no fault."""
        return tuple(_notes(self))


def describe(report: Report) -> dict[str, object]:
    """Return the report for machines."""
    return {
        "unit": report.unit,
        "result": "pass" if report.passes else "fail",
        "findings": [asdict(finding) for finding in report.findings],
        "notes": list(report.notes),
        "logs": {name: _describe_log(log) for name, log in _logs(report)},
        "balance": {
            item.lane.label: asdict(item) | {"lane": item.lane.label, "balances": item.balances}
            for item in report.lanes
        },
        "receipts": {"uploads": len(report.book.claims), "verified": report.receipts},
        "deletions": {reason: report.deletions[reason] for reason in _REASONS},
        "segments_present": len(report.spool),
    }


def draw_table(report: Report, *, told: int | None = TOLD) -> str:
    """Return the report for people; `told` findings of each reason, None = all."""
    lines = [f"audit of {report.unit}", ""]
    lines += [_log_line(name, log) for name, log in _logs(report)]
    lines += ["", *_balance_lines(report), ""]
    deletions = ", ".join(f"{report.deletions[reason]:,} {reason}" for reason in _REASONS)
    lines += [
        f"uploads      {len(report.book.claims):,}, receipts verified {report.receipts:,}",
        f"deletions    {sum(report.deletions.values()):,} segments: {deletions}",
        f"spool        {len(report.spool):,} segments, "
        + ("matches the log" if not _spool_findings(report) else "does NOT match the log"),
    ]
    lines += [f"note         {note}" for note in report.notes]
    lines += ["", *_finding_lines(report, told), f"RESULT       {_result(report)}"]
    return "\n".join(lines)


def _finding_lines(report: Report, told: int | None) -> Iterator[str]:
    """Yield the findings, reason by reason, in the order in which the reasons came up."""
    counts = Counter(item.reason for item in report.findings)
    for reason, count in counts.items():
        found = [item for item in report.findings if item.reason == reason][:told]
        head = "FOUND  " if found[0].severity == "fault" else "WARNING"
        yield from (f"{head:<12} {item.reason}: {item.detail}" for item in found)
        if len(found) < count:
            yield f"             … {count - len(found):,} more of {reason}; --all tells them"


def _result(report: Report) -> str:
    faults = Counter(item.reason for item in report.faults)
    if faults:
        return "FAIL: " + ", ".join(f"{count:,} {reason}" for reason, count in faults.items())
    warnings = len(report.findings)
    return f"PASS, with {warnings} warnings" if warnings else "PASS"


def _logs(report: Report) -> tuple[tuple[str, LogReview], ...]:
    return (("watch", report.watch), ("send", report.send))


def _describe_log(log: LogReview) -> dict[str, object]:
    return {
        "origin": log.origin,
        "entries": log.size,
        "root": log.root.hex(),
        "checkpoints": log.checkpoints,
        "unsigned": log.unsigned,
        "kinds": dict(log.kinds),
    }


def _log_line(name: str, log: LogReview) -> str:
    signed = "all signed" if not log.unsigned else f"{log.signed_size:,} signed"
    kinds = log.kinds
    return (
        f"{name:<6} log   {log.size:>9,} entries, {signed}, {log.checkpoints:,} checkpoints, "
        f"head {log.root.hex()[:8]}…; boots {kinds['boot']}, gaps {kinds['gap']}, "
        f"disk errors {kinds['io-error']}"
    )


def _balance_lines(report: Report) -> Iterator[str]:
    """Yield the equation, a line for each lane, the same columns in each."""
    yield f"{'':<6}{'recorded':>12} = " + " + ".join(f"{name:>10}" for name in _FATES)
    for item in report.lanes:
        fates = " + ".join(f"{getattr(item, name):>10,}" for name in _FATES)
        verdict = "BALANCES" if item.balances else "DOES NOT BALANCE"
        yield f"{item.lane.label:<6}{item.recorded:>12,} = {fates}   {verdict}"


def _spool_findings(report: Report) -> bool:
    about = {"unlogged-frame", "foreign-frame", "unknown-start"}
    about |= {"unknown-file", "missing-segment", "damaged-frame"}
    return any(item.reason in about for item in report.findings)


def _notes(report: Report) -> Iterator[str]:
    pending = report.book.intents.keys() - report.book.deleted.keys()
    counts = [
        (report.uncommitted, "frames are stored and not yet logged"),
        (
            sum(map(len, report.book.recent.values())),
            "frames were sealed during this audit and are not counted",
        ),
        (len(pending), "deletions were announced and not reported done"),
        (sum(item.lost for item in report.lanes), "reads were lost to damage of the card"),
    ]
    for name, log in _logs(report):
        counts.append((log.loose_bytes, f"bytes of an unfinished entry end the {name} log"))
    yield from (f"{count:,} {text}" for count, text in counts if count)
    if not report.send.size:
        yield "the sender has not run"

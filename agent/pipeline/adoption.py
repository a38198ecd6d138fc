"""Taking what an earlier start left in the spool into the log."""

import logging
from typing import Final

from agent.audit import AuditLog
from agent.base.clock import Clock, to_ms
from agent.spool import FrameNote, Recovery
from agent.trust.entries import IoFailure, Recovered, Sealed

log = logging.getLogger(__name__)

NAMES_TOLD: Final = 8
"""Strange files that are named at a start."""


def adopt_leftovers(found: Recovery, audit: AuditLog, clock: Clock) -> None:
    """Enter what an earlier start left in the spool into the log, before the sender may delete it.

    A frame is stored before it is logged; a power cut between the two leaves a frame that the
    log does not know. It is as good as any other, so the log takes it in now.
    """
    now_ms = to_ms(clock.now())
    adopted = [
        _adopt(note, leftover.segment.path.stem, now_ms)
        for leftover in found.leftovers
        for note in leftover.frames
        if audit.unlogged(note.header)
    ]
    recovered = Recovered(
        at_ms=now_ms,
        segments=len(found.leftovers),
        adopted=len(adopted),
        damaged_bytes=sum(leftover.damaged_bytes for leftover in found.leftovers),
    )
    problems = [
        IoFailure(at_ms=now_ms, place="spool", detail=problem[:200]) for problem in found.problems
    ]
    if found.leftovers or problems:
        audit.append_all([*problems, recovered, *adopted])
    if found.unknown:
        log.warning("strange files in the spool", extra={"names": found.unknown[:NAMES_TOLD]})


def _adopt(note: FrameNote, segment: str, now_ms: int) -> Sealed:
    return Sealed(
        at_ms=now_ms,
        lane=note.header.lane,
        boot=note.header.boot,
        first=note.header.first_sequence,
        last=note.header.last_sequence,
        frame=note.sha256,
        length=note.length,
        segment=segment,
    )

"""Taking what an earlier start left in the spool into the log."""

import logging
from contextlib import suppress
from typing import Final

from agent.audit import AuditLog
from agent.base.clock import Clock, to_ms
from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.spool import FrameNote, Recovery, SpoolReader, read_notes
from agent.trust.entries import IoFailure, Recovered, Sealed

log = logging.getLogger(__name__)

NAMES_TOLD: Final = 8
"""Strange files that are named at a start."""


def adopt_leftovers(found: Recovery, spooled: SpoolReader, audit: AuditLog, clock: Clock) -> None:
    """Enter what an earlier start left in the spool into the log, before the sender may delete it.

    A frame is stored before it is logged; a power cut between the two leaves a frame that the
    log does not know. Damage to the end of the log leaves others, also in segments that were
    closed. Such a frame is as good as any other, so the log takes it in now.
    """
    now_ms = to_ms(clock.now())
    held = [(leftover.segment, leftover.frames) for leftover in found.leftovers]
    if not audit.ended:
        held = [*_list_closed(spooled, audit), *held]
    found_at = {  # a frame that the disk refused once may stand in two segments
        note.sha256: (note, segment.path.stem)
        for segment, frames in held
        for note in frames
        if audit.unlogged(note.header, note.sha256)
    }
    adopted = [_adopt(note, segment, now_ms) for note, segment in found_at.values()]
    recovered = Recovered(
        at_ms=now_ms,
        segments=len(found.leftovers),
        adopted=len(adopted),
        damaged_bytes=sum(leftover.damaged_bytes for leftover in found.leftovers),
    )
    problems = [
        IoFailure(at_ms=now_ms, place="spool", detail=problem[:200]) for problem in found.problems
    ]
    if found.leftovers or problems or adopted:
        audit.append_all([*problems, recovered, *adopted])
    if found.unknown:
        log.warning("strange files in the spool", extra={"names": found.unknown[:NAMES_TOLD]})


def _list_closed(
    spooled: SpoolReader, audit: AuditLog
) -> list[tuple[Segment, tuple[FrameNote, ...]]]:
    """Return the closed segments that hold frames which the log does not know.

    From the newest back, in each lane up to the first whose frames are all known: the log lacks
    entries at its end only.
    """
    held = []
    for lane in Lane:
        with suppress(DeviceError):  # it is among the problems
            for segment in reversed(spooled.lane(lane)[0]):
                frames = read_notes(spooled, segment) if segment.closed else ()
                if any(audit.unlogged(note.header, note.sha256) for note in frames):
                    held.append((segment, frames))
                elif frames:
                    break
    return held[::-1]


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

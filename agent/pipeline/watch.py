"""The watcher's road: camera → detect → track → read → gate → seal → spool, and its log."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import to_ms
from agent.base.health import WatchCounters
from agent.base.records import Corners, Detections, Frame, PlateRead
from agent.camera import Source
from agent.detect import Detector, Pace, Stillness, detect_plates
from agent.pipeline.decisions import Lists, Policies
from agent.pipeline.keeping import Keeping
from agent.pipeline.shedding import Shedding
from agent.read import Ballots, Reader, read_crops
from agent.track import Tracker

log = logging.getLogger(__name__)


Probe = Callable[[str], AbstractContextManager[None]]
"""Is told the name of a stage and wraps it: what measures the road walks the road itself."""


def no_probe(_: str) -> AbstractContextManager[None]:
    """Measure nothing."""
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeing:
    """The stages that see plates."""

    detector: Detector
    tracker: Tracker
    reader: Reader
    ballots: Ballots
    stillness: Stillness | None = None
    """None = plates are looked for also where nothing moves."""
    pace: Pace | None = None
    """None = no frame is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one more frame showed."""

    done: tuple[PlateRead, ...] = ()
    """Of passages that are over."""
    leads: tuple[PlateRead, ...] = ()
    """Of vehicles in view, so far: those that an alert is to be made for."""


class Commits(Protocol):
    """Who brings to the disk what is kept."""

    def commit(self) -> None:
        """See to what is due."""
        ...

    def close(self) -> None:
        """Commit the rest and sign off."""
        ...


def watch_forever(  # noqa: PLR0913  one argument an edge
    camera: Source,
    seeing: Seeing,
    keeping: Keeping,
    *,
    stop: Callable[[], bool],
    report: Callable[[WatchCounters], None],
    lists: Lists,
    policies: Policies,
    commits: Commits | None = None,
    shedding: Shedding | None = None,
    probe: Probe = no_probe,
) -> None:
    """Carry frames from the camera to the spool until the camera ends or `stop` says so.

    Args:
        camera: Is opened here and given back.
        seeing: The stages up to a finished read.
        keeping: The stages from there to the disk; is closed here, also after an error.
        stop: Asked after every frame, and while none comes.
        report: Given the counters as often; to be quick.
        lists: Asked before every frame for a hotlist that came meanwhile.
        policies: Asked before every frame for a policy that came meanwhile.
        commits: Who commits and closes `keeping`; None = it does so itself, here.
        shedding: Says which frames are left out; None = none.
        probe: Measures the stages.

    Raises:
        HomeplateError: The camera cannot be used, or no account can be kept any more.
    """
    counters, commits = keeping.counters, commits or keeping
    dropped = 0
    try:
        with camera:
            for frame in camera.frames():
                take_policy(policies, seeing, keeping)
                keeping.take_list(lists)
                dropped = count_dropped(camera, counters, dropped)
                if frame is not None:
                    watch_frame(frame, seeing, keeping, shedding, dropped=dropped, probe=probe)
                commits.commit()
                report(counters)
                if stop():
                    break
        count_dropped(camera, counters, dropped)
    finally:  # a camera that fails takes nothing with it that was seen before
        try:
            keeping.take(finish_passages(seeing, counters))
        finally:
            commits.close()
    report(counters)


def count_dropped(camera: Source, counters: WatchCounters, before: int) -> int:
    """Count the frames that nobody was given; return how many those are since the start."""
    counters.broken_frames, dropped = camera.broken_frames, camera.dropped_frames
    counters.frames += dropped - before
    counters.frames_shed += dropped - before
    return dropped


def watch_frame(
    frame: Frame,
    seeing: Seeing,
    keeping: Keeping,
    shedding: Shedding | None,
    *,
    dropped: int,
    probe: Probe = no_probe,
) -> None:
    """Look at one more frame, unless it is to be left out, and hand on what it showed."""
    counters, clock = keeping.counters, keeping.clock
    counters.frames += 1
    began_ns = clock.monotonic_ns()
    if shedding is not None and not shedding.takes(began_ns, dropped=dropped):
        counters.frames_shed += 1
        return
    sight = see_frame(frame, seeing, counters, is_lead=keeping.is_lead, probe=probe)
    keeping.alert(sight.leads)
    keeping.take(sight.done, at=frame.captured_at)
    if shedding is not None:
        shedding.spend(clock.monotonic_ns() - began_ns)


def take_policy(policies: Policies, seeing: Seeing, keeping: Keeping) -> None:
    """Go on under the policy that came, if one did; no read and no passage in view is lost.

    What was seen until now is committed under the policy before; the log says where it ends.
    """
    for seen in policies.look():
        if not seen.accepted:
            keeping.note(seen)
            continue
        keeping.commit(everything=True)
        keeping.note(seen)
        renewal = policies.renewal()
        keeping.follow(renewal)
        seeing.ballots.follow(keep_crops=renewal.keep_crops, certain_looks=renewal.certain_looks)


def see_frame(
    frame: Frame,
    seeing: Seeing,
    counters: WatchCounters,
    *,
    is_lead: Callable[[PlateRead], bool],
    probe: Probe = no_probe,
) -> Sight:
    """Return what one more frame showed; `is_lead` is asked of each plate that was read in it.

    A frame on which a stage fails is counted and left out: one strange picture must not end the
    watch, nor take a passage with it that ended in it. What failed is logged by its kind and place,
    never with values.
    """
    done: list[PlateRead] = []
    leads: tuple[PlateRead, ...] = ()
    try:
        if seeing.pace is not None and seeing.pace.passes(frame):
            counters.frames_passed += 1
            return Sight()
        with probe("motion"):
            known = None if seeing.stillness is None else seeing.stillness.recall(frame)
        found = look_at(frame, seeing, probe) if known is None else known
        leads = _follow(frame, found, seeing, counters, is_lead, done=done, probe=probe)
        counters.frames_motionless += known is not None
        counters.frames_looked += known is None
    except Exception as error:  # noqa: BLE001  the one broad handler: a frame is not worth the watch
        counters.failed_frames += 1
        log.warning("frame failed", extra={"error": type(error).__name__, "place": _place(error)})
    return Sight(done=tuple(done), leads=leads)


def look_at(frame: Frame, seeing: Seeing, probe: Probe) -> Detections:
    """Return the plates in a frame in which something may have moved."""
    with probe("pick"):
        found = detect_plates(frame, seeing.detector)
    if seeing.stillness is not None:
        seeing.stillness.remember(found)
    return found


def _follow(  # noqa: PLR0913  the road's own state
    frame: Frame,
    found: Detections,
    seeing: Seeing,
    counters: WatchCounters,
    is_lead: Callable[[PlateRead], bool],
    *,
    done: list[PlateRead],
    probe: Probe,
) -> tuple[PlateRead, ...]:
    """Return the leads; the reads of passages that are over go to `done`, also before an error."""
    ballots = seeing.ballots
    with probe("track"):
        step = seeing.tracker.follow(
            found, frame, certain=ballots.certain, calm=ballots.calm, swapped=ballots.swapped
        )
    counters.plates += len(found.scores)
    looked_at = step.track_ids[step.wanted]
    try:
        if len(looked_at):
            _read(frame, found.corners[step.wanted], looked_at, seeing, probe)
            counters.crops_read += len(looked_at)
    finally:  # the tracker tells of an end once
        now_ms = to_ms(frame.captured_at)
        with probe("vote"):
            done += ballots.close(step.ended, alive=step.tracks["id"], now_ms=now_ms)
        counters.unread = ballots.unread
    if seeing.pace is not None:
        seeing.pace.note(frame, quiet=ballots.certain.issuperset(step.track_ids.tolist()))
    ripe = ballots.list_ripe(looked_at)
    return ballots.preview(seeing.tracker.passages(ripe), wanted=is_lead)


def _read(
    frame: Frame, corners: Corners, track_ids: NDArray[np.int64], seeing: Seeing, probe: Probe
) -> None:
    """Read the plates at `corners`, one of each track, and count what they show."""
    ballots = seeing.ballots
    with probe("rectify"):
        slots = read_crops(frame.y, corners, seeing.reader, turn=frame.index, doubt=ballots.doubt)
    with probe("vote"):
        ballots.count(frame, track_ids=track_ids, corners=corners, slots=slots)


def finish_passages(seeing: Seeing, counters: WatchCounters) -> tuple[PlateRead, ...]:
    """Return the reads of the passages that go on; where a stage fails, count them as unread."""
    waiting = seeing.ballots.waiting
    try:
        reads = seeing.ballots.finish(seeing.tracker.finish())
        counters.unread = seeing.ballots.unread
    except Exception as error:  # noqa: BLE001  what is in memory must still be committed
        counters.unread += waiting
        log.error(  # noqa: TRY400  a traceback may quote plates
            "passages lost", extra={"error": type(error).__name__, "place": _place(error)}
        )
        return ()
    return reads


def _place(error: Exception) -> str:
    """Return function and line where an error arose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""

"""The watcher's road: camera → detect → track → read → gate → seal → spool, and its log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.base.clock import to_ms
from agent.base.errors import HomeplateError
from agent.base.health import WatchCounters
from agent.base.records import Frame, PlateRead
from agent.camera import Source
from agent.detect import Detector, detect_plates
from agent.pipeline.keeping import Keeping, Lists, Renewal
from agent.read import Ballots, Reader, read_crops
from agent.track import Tracker
from agent.trust.entries import PolicySeen

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeing:
    """The stages that see plates."""

    detector: Detector
    tracker: Tracker
    reader: Reader
    ballots: Ballots


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one more frame showed."""

    done: tuple[PlateRead, ...] = ()
    """Of passages that are over."""
    leads: tuple[PlateRead, ...] = ()
    """Of vehicles in view, so far: those that an alert is to be made for."""


class Policies(Protocol):
    """Where policies come from."""

    def look(self) -> tuple[PolicySeen, ...]:
        """Judge what came, for the log; to be quick."""
        ...

    def renewal(self) -> Renewal:
        """Return what the policy in force says."""
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

    Raises:
        HomeplateError: The camera cannot be used, or no account can be kept any more.
    """
    counters = keeping.counters
    try:
        with camera:
            for frame in camera.frames():
                take_policy(policies, seeing, keeping)
                keeping.take_list(lists)
                if frame is not None:
                    counters.frames += 1
                    counters.broken_frames = camera.broken_frames
                    sight = see_frame(frame, seeing, counters, is_lead=keeping.is_lead)
                    keeping.alert(sight.leads)
                    keeping.take(sight.done, at=frame.captured_at)
                keeping.commit()
                report(counters)
                if stop():
                    break
    finally:  # a camera that fails takes nothing with it that was seen before
        keeping.take(seeing.ballots.finish(seeing.tracker.finish()))
        keeping.close()
    report(counters)


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
) -> Sight:
    """Return what one more frame showed; `is_lead` is asked of each plate that was read in it.

    A frame on which a stage fails is counted and left out: one strange picture must not end the
    watch. What failed is logged by its kind and place, never with values.
    """
    try:
        return _see(frame, seeing, counters, is_lead)
    except HomeplateError:
        raise
    except Exception as error:  # noqa: BLE001  the one broad handler: a frame is not worth the watch
        counters.failed_frames += 1
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else ""
        log.warning("frame failed", extra={"error": type(error).__name__, "place": place})
        return Sight()


def _see(
    frame: Frame, seeing: Seeing, counters: WatchCounters, is_lead: Callable[[PlateRead], bool]
) -> Sight:
    ballots = seeing.ballots
    found = detect_plates(frame, seeing.detector)
    step = seeing.tracker.follow(found, frame, certain=ballots.certain, swapped=ballots.swapped)
    corners = found.corners[step.wanted]
    slots = read_crops(frame.y, corners, seeing.reader, turn=frame.index)
    looked_at = step.track_ids[step.wanted]
    ballots.count(frame, track_ids=looked_at, corners=corners, slots=slots)
    counters.plates += len(found.scores)
    counters.crops_read += len(corners)
    return Sight(
        done=ballots.close(step.ended, alive=step.tracks["id"], now_ms=to_ms(frame.captured_at)),
        leads=ballots.preview(seeing.tracker.passages(looked_at), wanted=is_lead),
    )

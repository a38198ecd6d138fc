"""What a start finds in the spool. Nothing is repaired, cut or removed here."""

from dataclasses import dataclass

from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.spool.reader import SpoolReader
from agent.trust.frames import Damage, Found, encode_frame, frame_hash
from agent.trust.header import FrameHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameNote:
    """What the log needs to know of a frame."""

    header: FrameHeader
    sha256: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A segment that an earlier start did not close, as it was found."""

    segment: Segment
    frames: tuple[FrameNote, ...]
    damaged: int
    """Places of damage, the tail included."""
    damaged_bytes: int
    """Their length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a start found in the spool."""

    segments: int
    """Files of frames, leftovers included."""
    leftovers: tuple[Leftover, ...]
    unknown: tuple[str, ...]
    """Names in the lanes' folders that are no segments; left alone."""
    problems: tuple[str, ...]
    """Folders that could not be made, locked or read."""

    @property
    def damaged(self) -> int:
        """Places of damage in the leftovers."""
        return sum(leftover.damaged for leftover in self.leftovers)


def survey_spool(reader: SpoolReader, problems: list[str]) -> Recovery:
    """Return what the spool holds, as far as it can be read, and the `problems` there were."""
    segments: list[Segment] = []
    unknown: list[str] = []
    for lane in Lane:
        try:
            found, others = reader.lane(lane)
        except DeviceError as error:
            problems = [*problems, str(error)]
        else:
            segments += found
            unknown += others
    return Recovery(
        segments=len(segments),
        leftovers=tuple(_leftover(reader, segment) for segment in segments if not segment.closed),
        unknown=tuple(unknown),
        problems=tuple(problems),
    )


def read_notes(reader: SpoolReader, segment: Segment) -> tuple[FrameNote, ...]:
    """Return the whole frames of a segment, none of one that cannot be read."""
    try:
        found = reader.frames(segment)
    except DeviceError:  # the sender says so when it comes to it
        return ()
    return tuple(_note(item) for item in found if isinstance(item, Found))


def _leftover(reader: SpoolReader, segment: Segment) -> Leftover:
    """Return what is in a segment of an earlier start; an unreadable one is all damage.

    Synced first: a killed process may have left frames that so far stand in memory only, and
    what the log takes in must be there after a power cut.
    """
    try:
        reader.sync_leftover(segment)
        found = reader.frames(segment)
    except DeviceError:
        found = (Damage(offset=0, length=segment.size_bytes, tail=False),)
    damages = [item for item in found if isinstance(item, Damage)]
    return Leftover(
        segment=segment,
        frames=tuple(_note(item) for item in found if isinstance(item, Found)),
        damaged=len(damages),
        damaged_bytes=sum(item.length for item in damages),
    )


def _note(found: Found) -> FrameNote:
    sha256 = frame_hash(encode_frame(found.frame))
    return FrameNote(header=found.frame.header, sha256=sha256, length=found.length)

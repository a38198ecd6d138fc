"""Counters of a running service; numbers only, so they may be logged and shown."""

from dataclasses import asdict, dataclass
from typing import Final

LIFETIMES: Final = (
    (1, "forgotten_within_1s"),
    (2, "forgotten_within_2s"),
    (5, "forgotten_within_5s"),
    (10, "forgotten_within_10s"),
    (30, "forgotten_within_30s"),
    (60, "forgotten_within_60s"),
    (180, "forgotten_within_180s"),
)
"""Seconds, and the counter of the reads that lived so long at most and longer than the one before.
180 s is what New Hampshire allows a read that is no hit (RSA 261:75-b)."""


@dataclass(slots=True, kw_only=True)
class WatchCounters:
    """What the watcher did since its start.

    Every passage is counted once: passages = hits + reads + turned_away + unreadable. The last two
    never left memory, and the counters of lifetimes add up to them. In the mode `all` there are
    only hits and reads, in `hits-only` no reads: what was seen is a hit, was turned away or was
    unreadable. What is kept is sealed or dropped: alerts + ends + reads = sealed + dropped.
    """

    frames: int = 0
    """That the camera gave: frames_looked + frames_motionless + frames_passed + frames_shed +
    failed_frames."""
    broken_frames: int = 0
    frames_looked: int = 0
    """Frames in which plates were looked for."""
    frames_motionless: int = 0
    """Frames that showed the same as the last one that was looked at."""
    frames_passed: int = 0
    """Frames that were passed over, soon after a look that left nothing to be read."""
    frames_shed: int = 0
    """Frames that were left out: the next one was there already, or the unit was behind or hot."""
    failed_frames: int = 0
    """Frames on which a stage failed; left out."""
    plates: int = 0
    """Plates found, each counted in every frame."""
    crops_read: int = 0
    unread: int = 0
    """Plates that passed and of which nothing was read: too small, cut by the edge of the picture,
    or on frames that failed. They are no passages."""
    passages: int = 0
    """Vehicles that passed."""
    unreadable: int = 0
    """Passages whose read abstained and that never left memory."""
    alerts: int = 0
    """Hits told of: one a passage, most while the vehicle is in view."""
    ends: int = 0
    """Alerts whose passage is over, and told so."""
    withdrawn: int = 0
    """Ends of alerts that the vote over the whole passage does not confirm."""
    hits: int = 0
    """Passages of which alerts alone were kept, also one that was withdrawn at its end."""
    reads: int = 0
    """Passages kept as reads."""
    reads_unreadable: int = 0
    """Of the reads: those that abstained."""
    turned_away: int = 0
    """Readable passages that the gate did not let through; they never leave memory."""
    forgotten_within_1s: int = 0
    """Passages that never left memory, by the time from their first sight to their end."""
    forgotten_within_2s: int = 0
    forgotten_within_5s: int = 0
    forgotten_within_10s: int = 0
    forgotten_within_30s: int = 0
    forgotten_within_60s: int = 0
    forgotten_within_180s: int = 0
    forgotten_later: int = 0
    """Vehicles that stood in view for longer."""
    passed_before_list: int = 0
    """Passages that were over before any hotlist was in use."""
    hotlist_expired: int = 0
    """1 = the hotlist in use has expired: no alerts."""
    sealed: int = 0
    """Alerts, ends and reads on disk and in the log."""
    dropped: int = 0
    """Alerts, ends and reads that could not be kept; the log says why."""
    crops_sealed: int = 0
    crops_dropped: int = 0
    frames_sealed: int = 0
    """Sealed frames, of all lanes."""

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class CameraState:
    """How the camera on the unit is, and what it did since the start of the watcher."""

    dropped_frames: int = 0
    """Frames that the sensor took and nobody saw, by the gaps in its times."""
    stale_frames: int = 0
    """Frames that came without a time, or no newer than the one before; left out."""
    stalls: int = 0
    """Times that no frame came."""
    restarts: int = 0
    """Times that the sensor was stopped and started for it."""
    reopens: int = 0
    """Times that the camera was closed and opened for it."""
    exposure_us: int = 0
    """Of the last frame; 0 = not known."""
    gain: float = 0.0
    is_night: bool = False
    at_ceiling: bool = False
    """Exposure and gain are as high as they may be, and the picture is too dark."""


@dataclass(slots=True, kw_only=True)
class SendCounters:
    """What the sender did since its start."""

    uploads: int = 0
    """Requests that ended in a verified receipt."""
    frames_uploaded: int = 0
    reads_uploaded: int = 0
    crops_uploaded: int = 0
    failures: int = 0
    """Requests that did not; what they carried is sent again."""
    receipts_refused: int = 0
    errands_failed: int = 0
    """Requests for policy or hotlist and heartbeats that did not come through."""
    segments_deleted: int = 0
    expired: int = 0
    """Segments deleted at the end of their retention."""
    quota: int = 0
    """Segments deleted to make room."""
    reads_expired: int = 0
    """Reads and crops in expired segments that the city never got."""
    reads_dropped: int = 0
    """Reads and crops that the city never got, in segments deleted to make room."""

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)

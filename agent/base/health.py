"""Counters of a running service; numbers only, so they may be logged and shown."""

from dataclasses import asdict, dataclass


@dataclass(slots=True, kw_only=True)
class WatchCounters:
    """What the watcher did since its start.

    Every passage ends in exactly one of hits, reads, turned_away; every hit and read is later
    sealed or dropped.
    """

    frames: int = 0
    broken_frames: int = 0
    failed_frames: int = 0
    """Frames on which a stage failed; left out."""
    plates: int = 0
    """Plates found, each counted in every frame."""
    crops_read: int = 0
    passages: int = 0
    """Vehicles that passed."""
    unreadable: int = 0
    """Passages whose read abstained; they are kept as such in the mode `all`."""
    hits: int = 0
    reads: int = 0
    turned_away: int = 0
    """Passages that the gate did not let through; they never leave memory."""
    sealed: int = 0
    """Hits and reads on disk and in the log."""
    dropped: int = 0
    """Hits and reads that could not be kept; the log says why."""
    crops_sealed: int = 0
    crops_dropped: int = 0
    frames_sealed: int = 0
    """Sealed frames, of all lanes."""

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)


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

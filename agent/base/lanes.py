"""The three lanes of sealed reads; known on both sides of the spool."""

from enum import IntEnum


class Lane(IntEnum):
    """A way through spool and uplink; the number stands in every frame header."""

    HITS = 0
    """Reads that match the hotlist: committed at once, uploaded first."""
    READS = 1
    CROPS = 2
    """Pictures of plates: kept for less time, dropped first."""

    @property
    def label(self) -> str:
        """The lane's name in settings, folders and reports."""
        return self.name.lower()

"""Which frames a log knows, as far as a start needs it: it looks for those that are missing."""

from agent.base.lanes import Lane
from agent.trust.entries import Boot, Dropped, Entry, Sealed, Stop
from agent.trust.header import FrameHeader

Series = tuple[bytes, Lane]
"""A start and a lane: their sequences only rise."""


class Known:
    """The frames of the last start that a log names.

    What is signed cannot be missing: there the last sequence of each lane says enough. Behind it
    every frame counts on its own, for entries may be missing in the midst.
    """

    def __init__(self) -> None:
        self.ended = True
        """Whether the last entry is that of an orderly end, and signed; as an empty log."""
        self._boot = b""
        self._boots: set[bytes] = set()
        """Starts since the last signature."""
        self._last: dict[Series, int] = {}
        """Up to which sequence the signed part accounts for the last start in it."""
        self._frames: set[bytes] = set()
        """Hashes, behind the signed part."""
        self._dropped: list[tuple[Series, range]] = []
        """Sequences of reads that were given up, behind the signed part."""

    def note(self, entry: Entry, *, signed: bool) -> None:
        """Take in an entry, in the order of the log; those that are signed come first."""
        self.ended = signed and isinstance(entry, Stop)
        if isinstance(entry, Boot):
            self._note_boot(entry.boot, signed=signed)
        elif isinstance(entry, Sealed):
            if signed:
                self._last[entry.boot, entry.lane] = entry.last
            else:
                self._frames.add(entry.frame)
        elif isinstance(entry, Dropped) and entry.first is not None:
            series, end = (entry.boot, entry.lane), entry.first + entry.count
            if signed:
                self._last[series] = end - 1
            else:
                self._dropped.append((series, range(entry.first, end)))

    def is_unlogged(self, header: FrameHeader, sha256: bytes) -> bool:
        """Tell whether a frame on the disk is of the last start, and no entry accounts for it."""
        series = header.boot, header.lane
        if header.boot not in {self._boot, *self._boots} or sha256 in self._frames:
            return False
        if header.first_sequence <= self._last.get(series, -1):
            return False
        return not any(
            other == series and header.first_sequence in given_up
            for other, given_up in self._dropped
        )

    def _note_boot(self, boot: bytes, *, signed: bool) -> None:
        if signed:
            self._boot, self._last = boot, {}
        else:
            self._boots.add(boot)

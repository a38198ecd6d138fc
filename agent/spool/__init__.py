"""Sealed frames on disk: the watcher appends, the sender reads and deletes (formats.md, chapter 3).

Durable before it is acknowledged; nothing is ever written to a file of an earlier start; damage
is kept, reported and stepped over.
"""

from agent.spool.reader import SpoolReader
from agent.spool.recovery import FrameNote, Leftover, Recovery, read_notes
from agent.spool.writer import SpoolWriter

__all__ = ["FrameNote", "Leftover", "Recovery", "SpoolReader", "SpoolWriter", "read_notes"]

"""Decide whether a read may be kept, in which lane, and whether it is a hit.

In the mode `hits-only` a read that is no hit has no lane: it never leaves memory.
"""

from agent.gate.alerts import OpenAlert, OpenAlerts
from agent.gate.hotlist import EMPTY_HOTLIST, Hotlist, index_hotlist
from agent.gate.rules import GateRules, Mode, admit, find_matches, is_sure

__all__ = [
    "EMPTY_HOTLIST",
    "GateRules",
    "Hotlist",
    "Mode",
    "OpenAlert",
    "OpenAlerts",
    "admit",
    "find_matches",
    "index_hotlist",
    "is_sure",
]

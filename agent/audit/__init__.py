"""The unit's own account: append-only Merkle logs, one per process (formats.md, chapters 6 and 7).

`AuditLog` writes the log of this process; `LogReader` follows the log of the other one.
"""

from agent.audit.files import CHECKPOINTS, ENTRIES, RecordFile
from agent.audit.log import AuditLog
from agent.audit.reader import LogReader, read_backlog, read_policy_history

__all__ = [
    "CHECKPOINTS",
    "ENTRIES",
    "AuditLog",
    "LogReader",
    "RecordFile",
    "read_backlog",
    "read_policy_history",
]

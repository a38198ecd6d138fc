"""Policies that came while a process was away: into its log before anything else can fail."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from agent.audit import AuditLog
from agent.base.clock import Clock
from agent.cli.unit import Unit
from agent.trust.entries import PolicySeen


def log_arrivals(
    unit: Unit, process: Literal["watch", "send"], arrivals: Sequence[PolicySeen], clock: Clock
) -> None:
    """Enter what became of policies into the log of a process, which has not begun yet.

    Raises:
        DeviceError, SpoolFullError: The log cannot be written.
    """
    if not arrivals:
        return
    folder: Path = unit.watch_audit if process == "watch" else unit.send_audit
    signer = unit.load_signer(f"{process}.key")
    origin = f"homeplate/{unit.settings.unit}/{process}"
    with closing(AuditLog(folder, signer, origin, clock)) as audit:
        audit.append_all(arrivals)

"""Has the disk room, is it healthy, and is it fast enough?"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.base.disk import SYSTEM_DISK
from agent.base.lanes import Lane
from agent.cli.check.findings import Finding, Level, bad, doubt, good, grade, safely, unknown
from agent.cli.check.subject import Failure, Subject
from agent.cli.check.words import tell_bytes
from agent.cli.machine import Machine
from agent.spool import SpoolReader
from agent.trust.bundle import Decision
from agent.trust.policy import quota_bytes

RESERVE_BYTES: Final = 128 * 1024 * 1024
"""For logs and the system, beside the quotas."""
BLOCK_BYTES: Final = 16_384
"""A usual commit with pictures."""
WRITES: Final = 20
FINE_S, POOR_S = 0.25, 2.0
"""A commit interval is 1 s; beyond two of them reads pile up in memory."""
WORN = {1: "normal", 2: "8 of 10 spare blocks used", 3: "9 of 10 spare blocks used"}
"""PRE_EOL_INFO of JEDEC eMMC 5.1, 7.4.46."""
OLD: Final = 9
"""DEVICE_LIFE_TIME_EST: 0x09 = 80 to 90 % of its life used, 0x0B = beyond it."""


def look_at_disk(subject: Subject) -> Iterator[Finding]:
    """Answer HP-203 to HP-205."""
    state = subject.state
    present = safely("HP-203", lambda: judge_presence(state))
    if present.level is not Level.GOOD:
        yield present
        for code in ("HP-204", "HP-205"):
            yield unknown(code, "the state folder: see HP-203")
        return
    yield safely("HP-203", lambda: judge_room(state, subject.decision))
    yield safely("HP-204", lambda: judge_health(subject.machine, state))
    yield safely("HP-205", lambda: judge_speed(state))


def judge_presence(state: Path) -> Finding:
    """Judge whether there is a state folder, for HP-203."""
    if state.is_dir():
        return good("HP-203", f"{state} is there")
    why = f"{state}: no such folder; see state_directory in unit.toml"
    return bad("HP-203", why, remedy="make the folder and give it to the services' user")


def judge_room(state: Path, decision: Decision | Failure) -> Finding:
    """Judge HP-203."""
    free_bytes, all_bytes = SYSTEM_DISK.room_bytes(state)
    found = f"{tell_bytes(free_bytes)} of {tell_bytes(all_bytes)} free"
    if isinstance(decision, Failure):
        is_bad = free_bytes < RESERVE_BYTES
        return grade("HP-203", f"{found}; no policy, so no quota", is_bad=is_bad, is_doubtful=False)
    spool = SpoolReader(state / "spool")
    used_bytes = sum(spool.usage_bytes(lane) for lane in Lane)
    wanted_bytes = max(sum(quota_bytes(decision.policy).values()) - used_bytes, 0)
    found += f", the quotas may still take {tell_bytes(wanted_bytes)}"
    return grade(
        "HP-203",
        found,
        is_bad=free_bytes < RESERVE_BYTES,
        is_doubtful=free_bytes < wanted_bytes + RESERVE_BYTES,
    )


def judge_health(machine: Machine, state: Path) -> Finding:
    """Judge HP-204."""
    mount = machine.mount_of(state.resolve())
    if mount is None:
        return unknown("HP-204", "the kernel does not tell what is mounted")
    if mount.read_only:
        found = f"{mount.point} is mounted read-only, as after an error"
        return bad("HP-204", found)
    partition = Path(machine.link(f"sys/dev/block/{mount.device}") or "")
    errors = machine.read(f"sys/fs/{mount.kind}/{partition.name}/errors_count")
    if errors and errors != "0":
        return bad("HP-204", f"{mount.point} ({mount.kind}): {errors} errors noted by the kernel")
    noted = "no error noted" if errors else "the file system keeps no count of errors"
    wear = judge_wear(machine, partition)
    found = f"{mount.point} ({mount.kind}): {noted}{'; ' if wear else ''}{wear}"
    return doubt("HP-204", found) if "used" in wear else good("HP-204", found)


def judge_wear(machine: Machine, partition: Path) -> str:
    """Return what an eMMC or card tells about its wear, empty where it tells nothing."""
    disks = [name for name in partition.parts if machine.names(f"sys/block/{name}")]
    for disk in disks:
        spare = machine.read(f"sys/block/{disk}/device/pre_eol_info")
        life = machine.read(f"sys/block/{disk}/device/life_time")
        with suppress(ValueError, IndexError):
            if spare and int(spare, 16) > 1:
                return WORN.get(int(spare, 16), f"all spare blocks used ({spare})")
            worst = max(int(part, 16) for part in (life or "").split())
            return f"{worst * 10} % of its life used" if worst >= OLD else "little worn"
    return ""


def judge_speed(state: Path) -> Finding:
    """Judge HP-205, by writing a little; nothing of it stays."""
    took_s = sorted(time_writes(state / f".check-{os.getpid()}"))
    middle_s, worst_s = took_s[len(took_s) // 2], took_s[-1]
    found = f"{WRITES} writes of 16 KiB: {middle_s * 1000:.1f} ms, the slowest "
    found += f"{worst_s * 1000:.1f} ms"
    return grade("HP-205", found, is_bad=worst_s > POOR_S, is_doubtful=worst_s > FINE_S)


def time_writes(path: Path) -> list[float]:
    """Return how long each write took until it was safe on the disk, in seconds.

    Raises:
        OSError: The disk refuses.
    """
    content, took_s = bytes(BLOCK_BYTES), []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for _ in range(WRITES):
            began_s = time.monotonic()
            os.write(descriptor, content)
            os.fdatasync(descriptor)
            took_s.append(time.monotonic() - began_s)
    finally:
        os.close(descriptor)
        path.unlink()
    return took_s

"""Are models, keys and folders what they should be, and whose are they?"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.base.errors import HomeplateError
from agent.base.settings import DetectSettings, Settings
from agent.cli.check.findings import Finding, bad, doubt, good, safely, unknown, wrong
from agent.cli.check.subject import Subject
from agent.cli.machine import IN_MEMORY, Machine
from agent.cli.models import open_models, try_detector, try_reader

KEYS: Final = ("watch.key", "send.key", "tls.key", "tls.crt")
OTHERS: Final = stat.S_IRWXO
WRITE_OTHERS: Final = stat.S_IWOTH
KEY_FORBIDDEN: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
"""A group may read: watcher and sender are two users of one group."""


def look_at_files(subject: Subject) -> Iterator[Finding]:
    """Answer HP-401 to HP-404."""
    yield safely("HP-401", lambda: judge_models(subject.settings))
    yield safely("HP-402", lambda: judge_credentials(subject.credentials))
    yield safely("HP-403", lambda: judge_folders(subject))
    yield safely("HP-404", lambda: judge_exchange(subject.machine, subject.exchange))


def judge_models(settings: Settings) -> Finding:
    """Judge HP-401: hashes, graphs, and one run of each on an empty picture."""
    try:
        models = open_models(settings.models, DetectSettings())
    except HomeplateError as error:
        return wrong("HP-401", error)
    try_detector(models)
    try_reader(models)
    return good("HP-401", f"manifest {models.manifest_sha256.hex()[:16]}…, both run")


def judge_credentials(folder: Path) -> Finding:
    """Judge HP-402."""
    missing = [name for name in KEYS if not (folder / name).is_file()]
    if len(missing) == len(KEYS):
        return bad("HP-402", f"{folder}: none of {', '.join(KEYS)}: this unit is not enrolled")
    if missing:
        return bad("HP-402", f"{folder}: {', '.join(missing)} missing")
    modes = {path: path.stat().st_mode for path in (folder, *(folder / name for name in KEYS))}
    opened = [path for path, mode in modes.items() if mode & _forbidden(path)]
    if opened:
        named = ", ".join(f"{path} ({stat.filemode(modes[path])})" for path in opened)
        return bad("HP-402", f"open to others: {named}")
    return good("HP-402", f"{folder}: {len(KEYS)} files, closed to others")


def _forbidden(path: Path) -> int:
    return OTHERS | stat.S_IWGRP if path.is_dir() else KEY_FORBIDDEN


def judge_folders(subject: Subject) -> Finding:
    """Judge HP-403."""
    named = (
        subject.state,
        subject.place,
        Path(subject.settings.root),
        Path(subject.settings.policy),
    )
    present = [path for path in named if path.exists()]
    if subject.state not in present:
        return unknown("HP-403", f"{subject.state}: no such folder: see HP-203")
    inside = [Path(root) for root, _, _ in os.walk(subject.state, onerror=_complain)][1:]
    writable = [path for path in (*present, *inside) if path.stat().st_mode & WRITE_OTHERS]
    if writable:
        return bad("HP-403", f"everybody may write: {', '.join(map(str, writable))}")
    return good("HP-403", f"{len(present) + len(inside)} looked at, none open to others")


def _complain(error: OSError) -> None:
    """Let nothing be passed over in silence."""
    raise error


def judge_exchange(machine: Machine, folder: Path) -> Finding:
    """Judge HP-404."""
    if not folder.is_dir():
        return doubt("HP-404", f"{folder}: no such folder: no news reaches the watcher")
    mount = machine.mount_of(folder.resolve())
    if mount is None:
        return unknown("HP-404", "the kernel does not tell what is mounted")
    if folder.stat().st_mode & WRITE_OTHERS:
        return bad("HP-404", f"{folder}: everybody may write")
    if mount.kind not in IN_MEMORY:
        return doubt("HP-404", f"{folder} is on {mount.kind}")
    return good("HP-404", f"{folder} ({mount.kind})")

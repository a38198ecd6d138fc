"""The two slots of the application on the disk, and the links to them: written by root alone."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.base.application import (
    FAILED_LIMIT,
    STATE_NAME,
    STEPS_LIMIT,
    ApplicationState,
    Slot,
    SlotName,
    Step,
    StepName,
    read_state,
)
from agent.base.files import sync_directory, write_whole

CURRENT: Final = "current"
GOOD: Final = "good"
SLOTS: Final = "slots"
STARTS_LIMIT: Final = 3
"""Starts of the machine that a slot on trial has to prove itself."""
DETAIL_LIMIT: Final = 200
_MODE: Final = 0o644
_NAMES: Final[tuple[SlotName, SlotName]] = ("a", "b")


@dataclass(frozen=True, slots=True)
class Slots:
    """The application's folder."""

    folder: Path

    def place(self, name: SlotName) -> Path:
        """Return where a slot lies."""
        return self.folder / SLOTS / name

    def read(self) -> ApplicationState:
        """Return what is known; see `read_state`."""
        return read_state(self.folder)

    def free(self, state: ApplicationState) -> SlotName:
        """Return the slot that is not in use."""
        used = {slot.name for slot in (state.good, state.trial) if slot is not None}
        return next(name for name in _NAMES if name not in used)

    def write(self, state: ApplicationState) -> ApplicationState:
        """Remember a state, and let the links follow; a power cut between is put right by `follow`.

        Raises:
            OSError: The disk refuses.
        """
        write_whole(self.folder / STATE_NAME, msgspec.json.encode(state), mode=_MODE)
        self.follow(state)
        return state

    def follow(self, state: ApplicationState) -> None:
        """Let the links say what the state says, each in one step.

        Raises:
            OSError: The disk refuses.
        """
        links: Mapping[str, Slot | None] = {GOOD: state.good, CURRENT: state.current}
        for name, slot in links.items():
            link, wanted = self.folder / name, None if slot is None else f"{SLOTS}/{slot.name}"
            found = str(link.readlink()) if link.is_symlink() else None
            if found == wanted:
                continue
            if wanted is None:
                link.unlink()
            else:
                new = self.folder / f".{name}.new"
                new.unlink(missing_ok=True)
                new.symlink_to(wanted)
                new.replace(link)
            sync_directory(self.folder)

    def make_room(self, state: ApplicationState) -> SlotName:
        """Empty the slot that is not in use, and what a power cut left; return its name.

        Raises:
            OSError: The disk refuses.
        """
        free = self.free(state)
        (self.folder / SLOTS).mkdir(mode=0o755, exist_ok=True)
        for path in (self.place(free), self.new(free)):
            if path.exists():
                shutil.rmtree(path)
        return free

    def new(self, name: SlotName) -> Path:
        """Return where a slot is made before it gets its name."""
        return self.folder / SLOTS / f"{name}.new"

    def settle(self, name: SlotName) -> None:
        """Give a slot that is whole its name.

        Raises:
            OSError: The disk refuses.
        """
        self.new(name).replace(self.place(name))
        sync_directory(self.folder / SLOTS)


def add_step(
    state: ApplicationState, name: StepName, slot: Slot, *, at_ms: int, detail: str = ""
) -> ApplicationState:
    """Return the state with one more step; what is told twice in a row is told once."""
    last = state.steps[-1] if state.steps else None
    said = (name, slot.version, slot.sha256, detail[:DETAIL_LIMIT])
    if last is not None and said == (last.name, last.version, last.sha256, last.detail):
        return state
    step = Step(
        number=1 if last is None else last.number + 1,
        at_ms=at_ms,
        name=name,
        version=slot.version,
        sha256=slot.sha256,
        detail=detail[:DETAIL_LIMIT],
    )
    return msgspec.structs.replace(state, steps=(*state.steps, step)[-STEPS_LIMIT:])


def begin_trial(state: ApplicationState, slot: Slot, *, at_ms: int) -> ApplicationState:
    """Return the state in which a new slot runs and has yet to prove itself."""
    begun = msgspec.structs.replace(state, trial=slot, starts=0, highest=slot)
    return add_step(begun, "switched", slot, at_ms=at_ms)


def accept(state: ApplicationState, slot: Slot, *, at_ms: int) -> ApplicationState:
    """Return the state in which the slot on trial is the good one."""
    done = msgspec.structs.replace(state, good=slot, trial=None, starts=0)
    return add_step(done, "proven", slot, at_ms=at_ms)


def fall_back(state: ApplicationState, slot: Slot, *, at_ms: int, detail: str) -> ApplicationState:
    """Return the state in which the good slot runs again, and the other is not tried any more."""
    failed = (*state.failed, slot.sha256)[-FAILED_LIMIT:]
    back = msgspec.structs.replace(state, trial=None, starts=0, failed=failed)
    return add_step(back, "fallen-back", slot, at_ms=at_ms, detail=detail)


def count_start(state: ApplicationState, *, at_ms: int) -> ApplicationState:
    """Return the state after one more start of the machine; too many without proof end a trial."""
    if state.trial is None:
        return state
    if state.starts >= STARTS_LIMIT:
        detail = f"{STARTS_LIMIT} starts of the machine without proof"
        return fall_back(state, state.trial, at_ms=at_ms, detail=detail)
    return msgspec.structs.replace(state, starts=state.starts + 1)


def forget(state: ApplicationState, *, at_ms: int) -> ApplicationState:
    """Return the state in which what the package installed runs: it came by hand, and counts."""
    slot = state.current
    begun = msgspec.structs.replace(state, good=None, trial=None, starts=0, failed=())
    if slot is None:
        return begun
    return add_step(begun, "forgotten", slot, at_ms=at_ms, detail="the package was installed")

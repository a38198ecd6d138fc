"""What is known of the application's two slots: one small file that root alone writes.

    slots/a, slots/b   an application each: packages, models, and the way to Python
    good               link to the slot that has proven itself; missing = the package's
    current            link to the slot that runs; another than `good` while one is on trial
    state.json         this

The links follow from the file and are put right after every power cut.
"""

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError, IntegrityError
from agent.base.files import read_handed

STATE_NAME: Final = "state.json"
STATE_LIMIT_BYTES: Final = 65_536
STEPS_LIMIT: Final = 32
FAILED_LIMIT: Final = 8

SlotName = Literal["a", "b"]
StepName = Literal["refused", "switched", "proven", "fallen-back", "forgotten"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that became of an update."""

    number: int
    """Rises by one."""
    at_ms: int
    name: StepName
    version: str
    sha256: str
    detail: Annotated[str, Meta(max_length=200)] = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application in its slot."""

    name: SlotName
    version: str
    sha256: str
    """Of its archive, hexadecimal."""


class ApplicationState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is remembered."""

    good: Slot | None = None
    """None = what the package installed."""
    trial: Slot | None = None
    starts: int = 0
    """Of the machine, during the trial."""
    highest: Slot | None = None
    """The newest that was ever on trial; only its version and hash count."""
    failed: Annotated[tuple[str, ...], Meta(max_length=FAILED_LIMIT)] = ()
    """SHA-256 of archives that fell back: they are not tried again."""
    steps: Annotated[tuple[Step, ...], Meta(max_length=STEPS_LIMIT)] = ()

    @property
    def current(self) -> Slot | None:
        """What runs."""
        return self.trial or self.good


def read_state(folder: Path) -> ApplicationState:
    """Return what is known of the slots; where there is no file, that nothing ever came.

    Raises:
        IntegrityError: The file is something else.
    """
    path = folder / STATE_NAME
    try:
        content = read_handed(path, limit_bytes=STATE_LIMIT_BYTES)
        if content is None:
            return ApplicationState()
        return msgspec.json.decode(content, type=ApplicationState)
    except (ConfigError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{path}: {error}; install the package again, which begins anew"
        raise IntegrityError(message) from error

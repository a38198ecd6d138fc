"""What was found: one finding a code."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.base.errors import HomeplateError
from agent.cli.check.codes import TOPICS, Topic

AS_ROOT: Final = "run this check as root"


class Level(StrEnum):
    """How grave it is."""

    GOOD = "ok"
    DOUBT = "warning"
    BAD = "error"
    UNKNOWN = "skipped"
    """Could not be looked at; the finding says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one question."""

    code: str
    level: Level
    found: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""
    exit_code: int = 0
    """Of the error, when it is one."""

    @property
    def topic(self) -> Topic:
        """The question."""
        return TOPICS[self.code]


def good(code: str, found: str) -> Finding:
    """Return a finding as it should be."""
    return Finding(code=code, level=Level.GOOD, found=found)


def doubt(code: str, found: str, *, remedy: str = "") -> Finding:
    """Return a finding that a person should look at; the unit works."""
    return Finding(code=code, level=Level.DOUBT, found=found, remedy=remedy or TOPICS[code].remedy)


def bad(code: str, found: str, *, remedy: str = "", exit_code: int | None = None) -> Finding:
    """Return a finding that a person must mend."""
    topic = TOPICS[code]
    return Finding(
        code=code,
        level=Level.BAD,
        found=found,
        remedy=remedy or topic.remedy,
        exit_code=topic.error.exit_code if exit_code is None else exit_code,
    )


def wrong(code: str, error: HomeplateError) -> Finding:
    """Return the finding for an error of ours: its message says what, its class who."""
    return bad(code, str(error), exit_code=error.exit_code)


def unknown(code: str, why: str, *, remedy: str = "") -> Finding:
    """Return a finding for a question that could not be asked."""
    return Finding(code=code, level=Level.UNKNOWN, found=why, remedy=remedy)


def grade(code: str, found: str, *, is_bad: bool, is_doubtful: bool, remedy: str = "") -> Finding:
    """Return the finding of a measurement."""
    if is_bad:
        return bad(code, found, remedy=remedy)
    return doubt(code, found, remedy=remedy) if is_doubtful else good(code, found)


def safely(code: str, judge: Callable[[], Finding]) -> Finding:
    """Return what `judge` finds; what it may not see or cannot read is a finding too."""
    try:
        return judge()
    except PermissionError as error:
        return unknown(code, f"{error.filename}: may not be seen", remedy=AS_ROOT)
    except OSError as error:
        return bad(code, f"{error.filename}: {error.strerror or 'cannot be read'}")
    except HomeplateError as error:
        return wrong(code, error)

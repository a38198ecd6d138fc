"""Limits that a benchmark must keep, each with its reason: what CI fails on."""

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.cli.bench_baseline import find_figure

Tree = dict[str, Any]
LIMIT_BYTES: Final = 1 << 20
USUAL: Final = (
    ("frames_unaccounted", 0, "No frame is lost in silence."),
    ("rss_growth_mib", 4, "A unit runs for months: what grows for half an hour fills its memory."),
)
"""Figure, most, reason."""
MAY_BE_MISSING: Final = {"rss_growth_mib"}
"""Not measured in short runs."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line that a figure must not cross."""

    clip: str
    """File name without its ending."""
    figure: str
    """Dotted path in the clip's report."""
    reason: str
    """Why the line is there."""
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            message = "at_most, at_least: give one of them"
            raise ValueError(message)
        if not self.reason.strip():
            message = "reason: empty"
            raise ValueError(message)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: tuple[Limit, ...]


def load_limits(path: Path) -> tuple[Limit, ...]:
    """Return the limits of a TOML file.

    Raises:
        ConfigError: It is none.
    """
    content = read_bounded(path, limit_bytes=LIMIT_BYTES)
    try:
        return msgspec.convert(tomllib.loads(content.decode()), _File).limit
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = (
            f"{path}: {error}; expected [[limit]] with clip, figure, at_most or at_least, reason"
        )
        raise ConfigError(message) from error


def list_usual(reports: list[Tree]) -> tuple[Limit, ...]:
    """Return the limits that every run must keep."""
    return tuple(
        Limit(clip=Path(report["clip"]).stem, figure=figure, at_most=most, reason=reason)
        for report in reports
        for figure, most, reason in USUAL
        if figure not in MAY_BE_MISSING or report[figure] is not None
    )


def check_limits(reports: list[Tree], limits: tuple[Limit, ...]) -> list[Tree]:
    """Return each limit with the figure found and whether it holds.

    A figure that was not measured breaks its limit: else a gate that measures nothing would pass.
    Limits of clips that are not in the run are left out, unless none is left.

    Raises:
        ConfigError: No limit is about any of the clips.
    """
    by_clip = {Path(report["clip"]).stem: report for report in reports}
    mine = [limit for limit in limits if limit.clip in by_clip]
    if limits and not mine:
        message = f"--limits: found none for {', '.join(by_clip)}; expected one at least"
        raise ConfigError(message)
    return [check_limit(by_clip[limit.clip], limit) for limit in mine]


def check_limit(report: Tree, limit: Limit) -> Tree:
    """Return one limit with the figure found and whether it holds."""
    found = find_figure(report, limit.figure)
    held = found is not None and (
        found <= limit.at_most if limit.at_most is not None else found >= (limit.at_least or 0.0)
    )
    return {**msgspec.structs.asdict(limit), "found": found, "held": held}

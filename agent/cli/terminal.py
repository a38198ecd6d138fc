"""What a terminal can show: its width, symbols beyond ASCII, colour only where somebody looks."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TextIO

COLOURS: Final = {
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "grey": "\x1b[90m",
    "bold": "\x1b[1m",
}
"""ECMA-48, 8.3.117."""
PLAIN: Final = "\x1b[0m"
TELL_INTERVAL_NS: Final = 1_000_000_000
WIDEST: Final = 110
"""Longer lines are hard to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """How to show text."""

    columns: int
    colours: bool
    symbols: bool

    def paint(self, text: str, colour: str) -> str:
        """Return `text` in a colour, as it is where there are none."""
        return f"{COLOURS[colour]}{text}{PLAIN}" if self.colours else text

    def mark(self, look: tuple[str, str, str]) -> str:
        """Return a symbol: itself or its stand-in in ASCII, in its colour."""
        symbol, ascii_symbol, colour = look
        return self.paint(symbol if self.symbols else ascii_symbol, colour)


def look_at(stream: TextIO, environment: Mapping[str, str]) -> Screen:
    """Return what `stream` can show.

    Args:
        stream: Where the text will go.
        environment: NO_COLOR (no-color.org), TERM=dumb and COLUMNS are heeded.
    """
    is_terminal = stream.isatty()
    dumb = environment.get("TERM", "") == "dumb" or bool(environment.get("NO_COLOR"))
    encoding = (stream.encoding or "ascii").lower()
    return Screen(
        columns=min(shutil.get_terminal_size((100, 24)).columns, WIDEST) if is_terminal else 100,
        colours=is_terminal and not dumb,
        symbols=encoding.startswith("utf"),
    )


class Progress:
    """One line on a terminal that says how far a long work has come; silent where nobody looks.

    Args:
        what: Is done, as in "plates tried".
        stream: The terminal.
        monotonic_ns: Clock.
    """

    def __init__(self, what: str, stream: TextIO, monotonic_ns: Callable[[], int]) -> None:
        self._what, self._stream, self._clock_ns = what, stream, monotonic_ns
        self._shown = stream.isatty()
        self._begun_ns = self._told_ns = monotonic_ns()

    def report(self, done: int, of: int) -> None:
        """Say it once a second, and take the line away at the end."""
        now_ns = self._clock_ns()
        if not self._shown or (done < of and now_ns - self._told_ns < TELL_INTERVAL_NS):
            return
        self._told_ns = now_ns
        left_s = (now_ns - self._begun_ns) / max(done, 1) * (of - done) / 1e9
        line = f"{done:,} of {of:,} {self._what}, about {left_s:,.0f} s left"
        self._stream.write("\r\x1b[K" + ("" if done >= of else line))
        self._stream.flush()

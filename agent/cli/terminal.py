"""What a terminal can show: its width, symbols beyond ASCII, colour only where somebody looks."""

import shutil
from collections.abc import Mapping
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

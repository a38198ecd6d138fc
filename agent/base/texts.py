"""Text that comes from elsewhere and is shown to people: nothing in it may act on a screen."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from agent.base.errors import ConfigError

HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that steer a terminal, turn the direction of writing or begin a new line."""


def is_plain(text: str) -> bool:
    """Tell whether every character of a text shows as what it is."""
    return not any(unicodedata.category(letter) in HIDDEN for letter in text)


def show(text: str) -> str:
    """Return a text for a screen: a question mark stands for every character that would steer it.

    A line feed is one of them.
    """
    return "".join(letter if is_plain(letter) else "?" for letter in text)


def require_words(text: str, *, place: str) -> str:
    """Return a text that says something and shows as what it is, without blanks at its ends.

    Raises:
        ConfigError: It is empty, blank or of signs alone, or has a control character.
    """
    words = text.strip()
    if not any(map(str.isalnum, words)) or not is_plain(words):
        message = f"{place}: found {show(text)!r}; expected words on one line"
        raise ConfigError(message)
    return words


def find_hidden(value: object, path: str = "$") -> Iterator[str]:
    """Yield where in a JSON value a text is not plain.

    Args:
        value: As `json.loads` returns it.
        path: Where it stands.
    """
    if isinstance(value, str) and not is_plain(value):
        yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_hidden(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from find_hidden(item, f"{path}.{name}")

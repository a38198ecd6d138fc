"""What a form allows: said in the message about a value that does not fit it."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final

from msgspec import inspect

NEAR: Final = 3
"""Names that are told for one that is none."""
_LIKENESS: Final = 0.5
"""Of `difflib`: about every second letter in the same order."""
_CHOICE: Final = re.compile(r"Invalid enum value .* - at `\$([^`]*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(?:\d+|\.\.\.)\]")


def explain_misfit(error: Exception, form: type) -> str:
    """Return msgspec's words, with the values or names that are allowed at that place.

    Args:
        error: Of decoding something as `form`.
        form: A msgspec structure.
    """
    text = str(error)
    if choice := _CHOICE.search(text):
        values = [str(value) for value in _list_values(_walk(form, choice[1]))]
        return f"{text}; expected one of {', '.join(values)}" if values else text
    if unknown := _UNKNOWN.search(text):
        names = [name for kind in _walk(form, unknown[2] or "") for name in _list_fields(kind)]
        return f"{text}; {name_near(unknown[1], names)}" if names else text
    return text


def name_near(found: str, names: Iterable[str]) -> str:
    """Return the names that are like the one that was found; all where none is."""
    known = tuple(names)
    near = get_close_matches(found, known, NEAR, _LIKENESS)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"


def _walk(form: type, path: str) -> tuple[inspect.Type, ...]:
    """Return what may stand at a place, as in `.endpoint.addresses[0]`."""
    found = _alternatives(inspect.type_info(form))
    for step in _STEP.finditer(path):
        found = tuple(inner for kind in found for inner in _step(kind, step[1]))
    return found


def _step(kind: inspect.Type, name: str | None) -> tuple[inspect.Type, ...]:
    """Return what may stand in a field, or in a list where there is no name."""
    if name is not None and isinstance(kind, inspect.StructType):
        inner = [field.type for field in kind.fields if field.encode_name == name]
        return _alternatives(*inner)
    if name is None and isinstance(kind, inspect.CollectionType):
        return _alternatives(kind.item_type)
    return ()


def _alternatives(*kinds: inspect.Type) -> tuple[inspect.Type, ...]:
    return tuple(
        inner
        for kind in kinds
        for inner in (kind.types if isinstance(kind, inspect.UnionType) else (kind,))
    )


def _list_values(kinds: Iterable[inspect.Type]) -> Iterator[Any]:
    for kind in kinds:
        if isinstance(kind, inspect.LiteralType):
            yield from kind.values


def _list_fields(kind: inspect.Type) -> tuple[str, ...]:
    """Return the names that a structure has."""
    if not isinstance(kind, inspect.StructType):
        return ()
    return tuple(field.encode_name for field in kind.fields)

"""One field of a draft, as people name it: `retention.reads=30d`."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from agent.base.errors import ConfigError
from agent.base.forms import name_near
from agent.trust.policy import Policy

COUNTED: Final = ("version", "issued_at")
"""Fields that each edit sets by itself."""


def set_field(fields: dict[str, Any], assignment: str) -> None:
    """Set one field, as in `retention.reads=30d`; the value is JSON, or else plain text.

    Raises:
        ConfigError: Not of this form, no such field, or one that is set by itself.
    """
    path, separator, text = assignment.partition("=")
    if not separator or not path:
        message = f"--set {assignment}: expected PATH=VALUE, as in retention.reads=30d"
        raise ConfigError(message)
    _require_known(path, assignment)
    *parents, last = path.split(".")
    place: Any = fields
    for name in parents:
        place = place.setdefault(name, {})
    if not isinstance(place, dict):
        message = f"--set {assignment}: the draft has no fields there; correct it in an editor"
        raise ConfigError(message)
    place[last] = _read_value(text)


def list_paths() -> Iterator[str]:
    """Yield the paths of all that `--set` can set: whole fields, and the fields within them."""
    for field in msgspec.structs.fields(Policy):
        yield field.name
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from (f"{field.name}.{name}" for name in field.type.__struct_fields__)


def _require_known(path: str, assignment: str) -> None:
    known = [known for known in list_paths() if known not in COUNTED]
    if path in COUNTED:
        message = f"--set {assignment}: each edit sets {path} by itself"
        raise ConfigError(message)
    if path not in known:
        message = f"--set {assignment}: a policy has no field {path}; {name_near(path, known)}"
        raise ConfigError(message)


def _read_value(text: str) -> Any:  # noqa: ANN401 -- whatever stands in a policy
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

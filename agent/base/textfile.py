"""Numbers for the city's own monitoring, as Prometheus' node exporter picks them up from a file.

Nothing listens, nothing is sent: a file in a folder that a setting names. Only numbers can get in,
so no plate, no place and no name can.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.base.files import replace_unsynced

READABLE: Final = 0o644
"""The exporter is another user's."""
PREFIX: Final = "homeplate"


def write_textfile(folder: Path, service: str, numbers: Mapping[str, object]) -> None:
    """Replace the service's file in one step.

    Raises:
        OSError: The folder refuses.
    """
    content = render_metrics(service, numbers).encode()
    replace_unsynced(folder / f"{PREFIX}-{service}.prom", content, mode=READABLE)


def render_metrics(service: str, numbers: Mapping[str, object]) -> str:
    """Return what has a number as lines of Prometheus' text format 0.0.4, in the order of names.

    Args:
        service: Becomes a label.
        numbers: May hold more of its kind; names are joined by underscores. Texts are left out.
    """
    found = sorted(_flatten(PREFIX, numbers))
    return "".join(f'{name}{{service="{service}"}} {value:.17g}\n' for name, value in found)


def _flatten(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(f"{name}_{key}", inner)
    elif isinstance(value, (int, float)):
        yield name, float(value)

"""A bar on standard error that says how far long work is and how long it will take."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

WIDTH = 24
EVERY_S = 0.2
"""A terminal shows a moving bar; a file or pipe gets one line at the end."""


def track(
    items: Iterable[Item],
    *,
    total: int | None,
    name: str,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Give the items while a bar shows how many of `total` are done; None = nobody knows."""
    out = sys.stderr if stream is None else stream
    began, shown, done = clock(), 0.0, 0
    for item in items:
        yield item
        done += 1
        if out.isatty() and clock() - shown > EVERY_S:
            shown = clock()
            out.write("\r" + draw_bar(name, done, total, shown - began))
            out.flush()
    start = "\r" if out.isatty() else ""
    out.write(start + draw_bar(name, done, done, clock() - began) + "\n")
    out.flush()


def draw_bar(name: str, done: int, total: int | None, elapsed_s: float) -> str:
    """Return one line: name, bar, count, and the time left or, at the end, the time taken."""
    if total is None:
        return f"{name[:26]:<26} {'░' * WIDTH} {done:>6}           {draw_time(elapsed_s)} so far"
    share = min(done / total, 1.0) if total else 1.0
    bar = ("█" * round(share * WIDTH)).ljust(WIDTH, "░")
    if done >= total or not done:
        note = f"took {draw_time(elapsed_s)}"
    else:
        note = f"{draw_time(elapsed_s * (total - done) / done)} left"
    return f"{name[:26]:<26} {bar} {done:>6} of {total:<6} {note:<14}"


def draw_time(seconds: float) -> str:
    """Return minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"

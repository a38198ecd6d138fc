"""Tells systemd how a service is: the protocol of sd_notify(3), one datagram to a file's socket.

The one module beside the uplink that may import `socket`, and for this family of sockets alone:
nothing can be reached through it that is not on this machine. Without systemd it does nothing.
"""

import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

from agent.base.clock import Clock

TELL_INTERVAL_NS: Final = 1_000_000_000
"""How often progress is told: a small part of every `WatchdogSec` in systemd/."""
ADDRESS: Final = "NOTIFY_SOCKET"
_ABSTRACT: Final = "@"

Tell = Callable[[str], None]


def find_manager(environment: MutableMapping[str, str]) -> Tell:
    """Return what tells systemd a state; it says nothing where systemd does not ask.

    Args:
        environment: The process's own; the address is taken out, so that no child speaks for us.
    """
    address = environment.pop(ADDRESS, "")
    if not address.startswith(("/", _ABSTRACT)):
        return lambda _state: None
    if address.startswith(_ABSTRACT):
        address = f"\0{address[1:]}"

    def tell(state: str) -> None:
        with (
            suppress(OSError),  # systemd then acts on its own: the watchdog is not fed
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as plain,
        ):
            plain.sendto(state.encode(), address)

    return tell


class Progress:
    """Feeds the watchdog as long as something is done, and only then.

    Args:
        tell: Where to; see `find_manager`.
        clock: The unit's.
    """

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell, self._clock = tell, clock
        self._done: int | None = None
        self._told_ns = 0

    def note(self, done: int, status: Callable[[], str]) -> None:
        """Take note of how much is done; the first news says that the service is ready.

        Args:
            done: Counts what the service is there for. The same number again is no progress.
            status: One line for `systemctl status`: numbers only; asked when it is time.
        """
        now_ns = self._clock.monotonic_ns()
        ready = self._done is not None
        if done == self._done or (ready and now_ns - self._told_ns < TELL_INTERVAL_NS):
            return
        self._done, self._told_ns = done, now_ns
        first = "" if ready else "READY=1\n"
        self._tell(f"{first}WATCHDOG=1\nSTATUS={status()}")

    def end(self) -> None:
        """Say that the service is about to end in good order."""
        self._tell("STOPPING=1")

"""What one side may take of the endpoint: connections, and time for a request.

Whoever shows no certificate of a unit is a stranger, also a unit that enrols or renews. Strangers
get few connections for a short while, so that they cannot keep the units out by being slow.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Annotated, Any, Final

import h11
import msgspec
from msgspec import Meta

from homeplate_endpoint.peer import PeerProtocol

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
"""For TLS: four small packets."""
SLOW: Final = "too slow"

Count = Annotated[int, Meta(ge=1, le=100_000)]
Seconds = Annotated[float, Meta(ge=0.1, le=3600)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much at once, and for how long."""

    strangers: Count = 64
    """Connections without a client certificate, all together."""
    strangers_an_address: Count = 8
    stranger_s: Seconds = 20.0
    """From the first byte to the last, whatever is asked."""
    connections_a_unit: Count = 4
    """A unit has one, and another while it renews its certificate."""
    request_s: Seconds = 300.0
    """For a unit's request to be here whole: 8 MiB at a quarter of a megabit a second."""


class BoundedProtocol(PeerProtocol):
    """HTTP/1.1 within limits; a connection beyond them is cut without an answer."""

    def __init__(self, limits: Limits, **uvicorn: Any) -> None:  # noqa: ANN401 -- uvicorn's own
        super().__init__(**uvicorn)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Where the other end is."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take the connection, if there is room for it."""
        super().connection_made(transport)
        others = (other for other in self.connections if isinstance(other, BoundedProtocol))
        full = find_excess(self, others, self._limits)
        if full:
            self._cut(full)
        elif self.peer is None:
            self._deadline = self.loop.call_later(self._limits.stranger_s, self._cut, SLOW)
        else:
            self._watch_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a unit's request has to be whole in time."""
        super().data_received(data)
        if self.peer is not None:
            self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        """Run the clock while a request is awaited or on its way, not while it is answered."""
        open_ended = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if not open_ended and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif open_ended and self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.request_s, self._cut, SLOW)

    def _cut(self, reason: str) -> None:
        unit = self.peer.name if self.peer else ""
        log.info("connection cut", extra={"reason": reason, "unit": unit})
        self.transport.abort()


def find_excess(
    one: BoundedProtocol, connections: Iterable[BoundedProtocol], limits: Limits
) -> str:
    """Return of what there is too much, this connection counted; empty where there is room."""
    if one.peer is not None:
        name = one.peer.name
        own = sum(other.peer is not None and other.peer.name == name for other in connections)
        return "too many of one unit" if own > limits.connections_a_unit else ""
    strangers = [other for other in connections if other.peer is None]
    own = sum(other.address == one.address for other in strangers)
    if own > limits.strangers_an_address:
        return "too many from one address"
    return "too many without a certificate" if len(strangers) > limits.strangers else ""

"""The sender's own proof that it can reach the city alone: it tries to reach others.

nftables and systemd hold it to one address and one port. Either may be missing without a word: in
some containers systemd's filter was seen not to be enforced. So the sender tries a way that must be
closed, before its first connection and then again and again, and ends when it is open.
"""

import logging
from collections.abc import Callable
from typing import Final

from agent.base.clock import Clock
from agent.base.errors import DeviceError
from agent.trust.policy import Endpoint
from agent.uplink import is_let_out

log = logging.getLogger(__name__)

DISCARD_PORT: Final = 9
"""RFC 863: whatever arrives there is thrown away."""
FORBIDDEN: Final = ("127.0.0.1", "::1", "192.0.2.1", "2001:db8::1")
"""Always there, whatever the network (RFC 1122), and addresses of nobody (RFC 5737, RFC 3849)."""
INTERVAL_NS: Final = 60_000_000_000
TIMEOUT_S: Final = 0.25

Try = Callable[[str, int], bool]


def try_out(address: str, port: int) -> bool:
    """Tell whether the system lets a packet out to an address."""
    return is_let_out(address, port, timeout_s=TIMEOUT_S)


class Lockdown:
    """Tries the closed ways, as an errand of the sender.

    Args:
        clock: The unit's.
        attempt: Tells whether an address is reached.
    """

    def __init__(self, clock: Clock, attempt: Try = try_out) -> None:
        self._clock, self._attempt = clock, attempt
        self._closed: tuple[tuple[str, int], ...] = ()
        self._tried_ns = clock.monotonic_ns()

    def begin(self, endpoint: Endpoint) -> None:
        """Try before the first connection; from now on the endpoint's other ports are closed, too.

        Raises:
            DeviceError: A forbidden way is open: the sender must not run.
        """
        other = DISCARD_PORT if endpoint.port != DISCARD_PORT else DISCARD_PORT + 1
        foreign = tuple((address, DISCARD_PORT) for address in FORBIDDEN)
        self._closed = foreign + tuple((address, other) for address in endpoint.addresses)
        self._require()

    def work(self) -> None:
        """Try again when it is time.

        Raises:
            DeviceError: As `begin`.
        """
        if self._clock.monotonic_ns() - self._tried_ns >= INTERVAL_NS:
            self._require()

    def _require(self) -> None:
        self._tried_ns = self._clock.monotonic_ns()
        opened = [address for address, port in self._closed if self._attempt(address, port)]
        if not opened:
            return
        log.error("egress not locked", extra={"detail": ", ".join(opened)})
        message = (
            f"a packet to {', '.join(opened)} was let out: this system does not hold the sender to "
            "the city's endpoint; see `systemctl status homeplate-egress` and `nft list ruleset`. "
            "Nothing is sent until it does"
        )
        raise DeviceError(message)

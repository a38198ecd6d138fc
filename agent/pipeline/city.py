"""The far side of the uplink, as the errands see it."""

from collections.abc import Mapping
from typing import Protocol

from agent.trust.answers import Answer


class City(Protocol):
    """The far side of the uplink, for all but frames."""

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        limit_bytes: int,
    ) -> Answer:
        """Ask for something else than a receipt; see `Uplink.exchange`."""
        ...

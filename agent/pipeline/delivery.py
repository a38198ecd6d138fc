"""Handing frames over, with the proof that they stand in the log that the city has seen before."""

from typing import Final

from agent.audit import LogReader
from agent.base.errors import UplinkError
from agent.pipeline.collector import Collector
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.backlog import Standing
from agent.trust.uploads import Upload

DELIVERIES: Final = 3
"""Tries at finding the part of the log that the city has seen."""


class Delivery:
    """Knows how much of the watcher's log the city has seen.

    What a receipt says is proven. What the endpoint says without a signature is a hint: it may be
    true (a receipt was lost on the way) or nonsense, so it ends nothing.

    Args:
        uplink: To the city.
        watched: The watcher's log.
        proven_size: Of that log, in the last receipt.
    """

    def __init__(self, uplink: Collector, watched: LogReader, *, proven_size: int) -> None:
        self._uplink, self._watched = uplink, watched
        self._proven_size = self._hinted_size = proven_size

    def note_proven(self, size: int) -> None:
        """Take in the size in a receipt that was verified."""
        self._proven_size = self._hinted_size = size

    def deliver(
        self, segment: str, frames: tuple[bytes, ...], standings: tuple[Standing, ...]
    ) -> bytes:
        """Return the city's answer; when it has seen another part of the log, prove from there.

        Raises:
            UplinkError: The city was not reached, or asks for what is not here; try again later.
            IntegrityError: A receipt proves more entries than the watcher's log has.
        """
        places = tuple((standing.index, standing.at_ms) for standing in standings)
        membership = self._watched.prove_members(index for index, _ in places)
        for _ in range(DELIVERIES):
            self._require_signed()
            answer = self._uplink.deliver(
                Upload(
                    frames=frames,
                    checkpoint=self._watched.note,
                    previous_size=self._hinted_size,
                    proof=self._watched.prove_from(self._hinted_size),
                    segment=segment,
                    places=places,
                    membership=membership,
                )
            )
            match answer:
                case UnverifiedReceipt(signed=signed):
                    return signed
                case LogPosition(known_size=known_size):
                    self._hinted_size = known_size
        self._hinted_size = self._proven_size
        message = "the city's endpoint asks for another part of the log again and again"
        raise UplinkError(message)

    def _require_signed(self) -> None:
        """Refuse to go on while less is signed here than the city has seen, or says it has."""
        if not self._watched.has_signed(self._proven_size):
            message = "the watcher has yet to sign again what the city has seen; waiting"
            raise UplinkError(message)
        hinted_size, signed_size = self._hinted_size, self._watched.size
        if hinted_size > signed_size:
            self._hinted_size = self._proven_size
            message = (
                f"the city's endpoint says without a receipt that it has seen {hinted_size} "
                f"entries of the watcher's log; {signed_size} are signed here, receipts prove "
                f"{self._proven_size}; asking again later"
            )
            raise UplinkError(message)

"""What the sender asks of the far side, whoever it is."""

from typing import Protocol

from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.uploads import Upload


class Collector(Protocol):
    """The far side of the uplink."""

    def deliver(self, upload: Upload, /) -> UnverifiedReceipt | LogPosition:
        """Hand over sealed frames.

        Raises:
            UplinkError: They may not have arrived; safe to try again.
            RefusedError: The city refuses them.
            CredentialError: The city does not accept this unit's certificate.
        """
        ...

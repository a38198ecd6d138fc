"""The key that reads are sealed to is for that alone: who signs must not be able to open.

A city that names an office's key, or an agency's, as its sealing key would have every read
opened by one person at a desk, and by a key that no period ends.
"""

from base64 import b64decode
from binascii import Error
from collections.abc import Iterable

from agent.base.errors import PolicyError
from agent.trust.signatures import PublicKey


def require_only_sealing(
    sealing: PublicKey | str, holders: Iterable[tuple[str, PublicKey]], *, place: str
) -> None:
    """Make sure that nobody who signs holds the sealing key.

    Args:
        sealing: The key, or its base64 in a draft that need not be right yet.
        holders: Offices and agencies with the keys that they sign with.
        place: Of the policy, for messages.

    Raises:
        PolicyError: `sealing-key`.
    """
    spki = _decode(sealing) if isinstance(sealing, str) else sealing.spki
    for holder, key in holders:
        if key.spki == spki:
            message = (
                f"{place}: $.sealing.public_key is the key {key.key_id.hex()} with which {holder} "
                "signs: it would open every read; expected a key of `homeplate city keys make`"
            )
            raise PolicyError(message, reason="sealing-key")


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError):
        return b""  # no key at all: told where the policy is read

"""The heartbeat: what a unit tells the city of itself. Numbers and versions, never what it saw."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.base.health_file import Health
from agent.base.unit_state import UnitState

HEARTBEAT_PATH: Final = "/v1/heartbeat"
POLICY_PATH: Final = "/v1/policy"
HEARTBEAT_LIMIT_BYTES: Final = 65_536

Hex256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(max_length=200)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class PolicyState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which policy is in force with the sender, and what it refused."""

    version: Count
    hash: Hex256
    """As on the city's public page."""
    root_version: Count
    expires_ms: Count
    refusals: Count
    """Since the start."""
    last_refusal: Text
    refused_lately: tuple[Text, ...] = ()
    """The last few, the last one last."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One beat."""

    at_ms: Count
    version: Text
    """Of the software."""
    policy: PolicyState
    certificate_expires_ms: Count
    """Of the unit's client certificate."""
    send: dict[Text, Count]
    """The sender's counters."""
    watch: Health | None
    """The watcher, as it told last; None = it never did, or ended in good order."""
    unit: UnitState | None = None
    """The machine and the queue, as the sender sees them: also while the watcher is down."""


def encode_heartbeat(beat: Heartbeat) -> bytes:
    """Return the body of the request, JSON."""
    return msgspec.json.encode(beat)


def decode_heartbeat(content: bytes, *, place: str) -> Heartbeat:
    """Return the heartbeat.

    Raises:
        IntegrityError: It is none.
    """
    try:
        return msgspec.json.decode(content[: HEARTBEAT_LIMIT_BYTES + 1], type=Heartbeat)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {error}; expected a heartbeat of at most {HEARTBEAT_LIMIT_BYTES} bytes"
        raise IntegrityError(message) from error

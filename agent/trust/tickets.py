"""Tickets: what the endpoint knows of a one-time token before it is used (formats.md, chapter 11).

The city's office draws the token and puts it into the unit's bundle. The endpoint gets a ticket
with its hash: who reads the endpoint's disk cannot enrol, who cannot write there cannot admit.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agent.base.errors import ConfigError
from agent.trust.enrolment import UnitName, Version

TICKET_LIMIT_BYTES: Final = 4_096


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Admits one unit, once, until its time is over."""

    version: Version
    unit: UnitName
    token_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    made_at: Annotated[datetime, Meta(tz=True)]
    expires_at: Annotated[datetime, Meta(tz=True)]


def make_ticket(unit: str, token: bytes, *, made_at: datetime, expires_at: datetime) -> bytes:
    """Return the file for the endpoint's folder of tickets."""
    ticket = Ticket(
        version=1,
        unit=unit,
        token_sha256=hashlib.sha256(token).hexdigest(),
        made_at=made_at,
        expires_at=expires_at,
    )
    return msgspec.json.format(msgspec.json.encode(ticket)) + b"\n"


def parse_ticket(content: bytes, *, place: str) -> Ticket:
    """Return the ticket in a file.

    Raises:
        ConfigError: Something else is in it.
    """
    try:
        return msgspec.json.decode(content, type=Ticket)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"{place}: {error}; expected a ticket of `homeplate unit add`"
        raise ConfigError(message) from error


def ticket_name(unit: str) -> str:
    """Return the name of a unit's file in the folder of tickets: a new one replaces the old."""
    return f"{unit}.ticket.json"

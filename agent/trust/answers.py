"""What the city's endpoint answers, and which errors its refusals are: no connection here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.base.errors import RefusedError, UplinkError

MEDIA_TYPE: Final = "application/cbor"
GOOD_STATUS: Final = frozenset({200, 201, 202, 204, 206, 304})
"""What an exchange may answer; a redirect is never followed."""
_DETAIL_LIMIT: Final = 200
_OK: Final = 200
_PRECONDITION_FAILED: Final = 412
_RETRY_STATUS: Final = frozenset({408, 425, 429})
"""Of the 4xx, those that speak of the moment, not of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the endpoint answered to a request: verified by nobody yet."""

    status: int
    reason: str
    """The words beside the status."""
    content: bytes = field(repr=False)
    headers: Mapping[str, str]
    """By their names in small letters."""


@dataclass(frozen=True, slots=True)
class UnverifiedReceipt:
    """An answer that claims to be a receipt. It allows nothing until `open_receipt` took it."""

    signed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The endpoint has seen another size of the watcher's log: prove from there and try again."""

    known_size: int


def judge_delivery(answer: Answer, place: str) -> UnverifiedReceipt | LogPosition:
    """Return what the answer to an upload says."""
    if answer.status == _OK:
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != MEDIA_TYPE or not answer.content:
            message = f"{place}: answered 200 without a receipt; expected {MEDIA_TYPE}"
            raise UplinkError(message)
        return UnverifiedReceipt(answer.content)
    known_size = _read_detail(answer.content).get("known_size")
    asks = answer.status == _PRECONDITION_FAILED
    if asks and type(known_size) is int and known_size >= 0:
        return LogPosition(known_size)
    raise refusal(answer, place)


def refusal(answer: Answer, place: str) -> UplinkError:
    """Return the error that an answer stands for."""
    status = answer.status
    detail = _read_detail(answer.content)
    said = f"{detail.get('error', answer.reason)}: {detail.get('detail', 'no reason given')}"
    said = "".join(letter if letter.isprintable() else "?" for letter in said[:_DETAIL_LIMIT])
    message = f"{place}: answered {status} {said}"
    if 400 <= status < 500 and status not in _RETRY_STATUS:  # noqa: PLR2004 -- client errors
        return RefusedError(message)
    return UplinkError(message)


def _read_detail(content: bytes) -> dict[str, object]:
    """Return the fields of an error's JSON, none where there is none."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

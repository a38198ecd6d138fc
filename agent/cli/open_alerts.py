"""How `homeplate open` shows hits of the hotlist: each a lead, never more."""

from collections.abc import Iterator
from dataclasses import asdict

import msgspec

from agent.base.clock import from_ms
from agent.base.hits import LEAD_ONLY
from agent.base.place import Place
from agent.trust.alerts import StoredAlert, StoredEnd
from agent.trust.contents import DIRECTIONS, QUARTERS, StoredRead
from agent.trust.header import FrameHeader

_CERTAIN = 255
DEGREE = 10_000_000
"""Places are stored in its parts."""


def read_fields(read: StoredRead) -> dict[str, object]:
    """Return a read for machines."""
    fields = msgspec.structs.asdict(read)
    fields["confidences"] = [round(value / _CERTAIN, 3) for value in read.confidences]
    fields["direction"] = DIRECTIONS[read.direction]
    fields["corners"] = [number / QUARTERS for number in read.corners]
    del fields["place"]
    return fields if read.place is None else fields | {"place": place_fields(read.place)}


def place_fields(place: Place) -> dict[str, object]:
    """Return for machines where a vehicle unit was."""
    return {
        "latitude": place.latitude_e7 / DEGREE,
        "longitude": place.longitude_e7 / DEGREE,
        "error_m": place.error_dm / 10,
        "fix_ms": place.fix_ms,
    }


def alert_fields(alert: StoredAlert) -> dict[str, object]:
    """Return an alert for machines."""
    return read_fields(alert.read) | {
        "notice": LEAD_ONLY,
        "matches": [asdict(match) for match in alert.matches],
        "list_version": alert.list_version,
        "list_issued_ms": alert.list_issued_ms,
        "list_age_s": list_age_s(alert),
        "matched_ms": alert.matched_ms,
        "complete": alert.complete,
        "jpeg_bytes": len(alert.jpeg),
    }


def end_fields(end: StoredEnd) -> dict[str, object]:
    """Return an end for machines."""
    return asdict(end) | {"direction": DIRECTIONS[end.direction]}


def list_age_s(alert: StoredAlert) -> float:
    """Return how old the list was when the alert was made."""
    return max(alert.matched_ms - alert.list_issued_ms, 0) / 1000


def draw_alert(header: FrameHeader, alert: StoredAlert) -> Iterator[str]:
    """Yield the lines of an alert for people."""
    read = alert.read
    confidences = [value / _CERTAIN for value in read.confidences]
    weakest = min(confidences, default=0.0)
    yield f"ALERT {name_alert(header, alert.sequence)}: {LEAD_ONLY}"
    yield f"  plate       {read.text}, weakest character {weakest:.0%}"
    yield "  characters  " + " ".join(
        f"{character} {value:.0%}" for character, value in zip(read.text, confidences, strict=True)
    )
    yield f"  seen        {_tell_ms(read.last_ms)} by {header.unit}, {DIRECTIONS[read.direction]}"
    yield f"  agreed      {read.frames_agreed} looks of {read.frames_seen} frames" + (
        "" if alert.complete else ", vehicle in view when the alert was made"
    )
    if read.place is not None:
        place = read.place
        degrees = f"{place.latitude_e7 / DEGREE:.6f}, {place.longitude_e7 / DEGREE:.6f}"
        yield f"  unit at     {degrees}, within {place.error_dm / 10:.0f} m"
    for match in alert.matches:
        state = match.state or "state not known"
        until = f"until {_tell_minute(match.expires_ms)}"
        yield f"  wanted      {state}, {match.purpose}, {match.agency}, case {match.case}, {until}"
    issued = f"of {_tell_minute(alert.list_issued_ms)}, {_tell_age(list_age_s(alert))} old"
    yield f"  hotlist     {issued}, version {alert.list_version}"
    if alert.jpeg:
        yield f"  picture     {name_picture(header, alert.sequence)} (--crops FOLDER writes it)"


def draw_end(header: FrameHeader, end: StoredEnd) -> str:
    """Return the line of how an alert's passage ended."""
    alert = name_alert(header, end.alert_sequence)
    seen = f"last seen {_tell_ms(end.last_ms)}, {DIRECTIONS[end.direction]}"
    if end.confirmed:
        agreed = f"{end.frames_agreed} looks agree"
        return f"END   {alert}: the whole passage says the same, {agreed}; {seen}"
    return f"END   {alert}: WITHDRAWN, the whole passage does not confirm the plate; {seen}"


def name_alert(header: FrameHeader, sequence: int) -> str:
    """Return how an alert is named, for people and for the end of its passage."""
    return f"{header.unit}/{header.boot[:4].hex()}/{sequence}"


def name_picture(header: FrameHeader, sequence: int) -> str:
    """Return the file name of an alert's picture."""
    return f"{header.unit}-{header.boot[:4].hex()}-hits-{sequence}.jpg"


def _tell_ms(instant_ms: int) -> str:
    return from_ms(instant_ms).strftime("%Y-%m-%d %H:%M:%S UTC")


def _tell_minute(instant_ms: int) -> str:
    return from_ms(instant_ms).strftime("%Y-%m-%d %H:%M UTC")


def _tell_age(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004

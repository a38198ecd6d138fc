"""Fixes of a GPS receiver: gpsd's reports, the file that hands them on, and where a read was made.

gpsd(8) and its JSON (gpsd_json(5)) know the receivers. Reports come in a process of their own,
`homeplate gps`: the watcher has no network, not even to itself (ADR 0014).
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from agent.base.clock import to_ms
from agent.base.clock_quality import ClockQuality
from agent.base.errors import ConfigError
from agent.base.files import read_handed
from agent.base.place import Place

KEPT: Final = 120
"""Fixes in the file: two minutes of a usual receiver. A read is sealed within seconds."""
TRACK_LIMIT_BYTES: Final = 65_536
LINE_LIMIT: Final = 65_536
"""gpsd's longest reports, of satellites, have some thousand characters."""
LEAST_MODE: Final = 2
"""A fix in two dimensions; below there is none."""
DM: Final = 10
E7: Final = 10_000_000
WORST_ERROR_M: Final = 1000.0
"""A fix that is worse says too little; one without an error counts as this bad."""
CLOCK_FRESH_MS: Final = 10_000
CLOCK_DELAY_MS: Final = 1000
"""A receiver on a serial line tells of a second when it is nearly over."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """gpsd's TPV, as far as it is used; metres and degrees."""

    kind: str = msgspec.field(name="class")
    mode: int = 0
    time: datetime | None = None
    lat: float | None = None
    lon: float | None = None
    eph: float | None = None
    epx: float | None = None
    epy: float | None = None

    def __repr__(self) -> str:
        return "Report()"


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """A place, and the unit's own clock when it was told."""

    place: Place
    heard_ms: int


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """The newest fixes, oldest first."""

    fixes: tuple[Fix, ...] = ()


def parse_report(line: bytes, *, heard_ms: int) -> Fix | None:
    """Return the fix in a line of gpsd, None where it holds none or makes no sense."""
    if len(line) > LINE_LIMIT:
        return None
    try:
        report = msgspec.json.decode(line, type=Report)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    time, latitude, longitude = report.time, report.lat, report.lon
    if report.kind != "TPV" or report.mode < LEAST_MODE:
        return None
    if time is None or time.tzinfo is None or latitude is None or longitude is None:
        return None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):  # noqa: PLR2004  degrees; no NaN
        return None
    place = Place(
        latitude_e7=round(latitude * E7),
        longitude_e7=round(longitude * E7),
        error_dm=round(find_error_m(report) * DM),
        fix_ms=to_ms(time),
    )
    return Fix(place=place, heard_ms=heard_ms)


def find_error_m(report: Report) -> float:
    """Return the error that gpsd estimates for the position."""
    if report.eph is not None:
        found = report.eph
    elif report.epx is not None and report.epy is not None:
        found = max(report.epx, report.epy)
    else:
        found = WORST_ERROR_M
    return min(max(found, 0.0), WORST_ERROR_M)


def add_fix(track: Track, fix: Fix) -> Track:
    """Return the track with one fix more and no more than are kept."""
    return Track(fixes=(*track.fixes[1 - KEPT :], fix))


def encode_track(track: Track) -> bytes:
    """Return the file's bytes, JSON."""
    return msgspec.json.encode(track)


def read_track(path: Path) -> Track:
    """Return the track in a file; an empty one where it is missing or makes no sense."""
    with suppress(ConfigError, msgspec.MsgspecError, ValueError, RecursionError):
        content = read_handed(path, limit_bytes=TRACK_LIMIT_BYTES)
        if content is not None:
            return msgspec.json.decode(content, type=Track)
    return Track()


def find_place(track: Track, instant_ms: int, *, max_age_ms: float) -> Place | None:
    """Return where the unit was at an instant of its own clock; None where no fix is near."""
    nearest = min(track.fixes, key=lambda fix: abs(fix.heard_ms - instant_ms), default=None)
    if nearest is None or abs(nearest.heard_ms - instant_ms) > max_age_ms:
        return None
    return nearest.place


def make_locator(path: Path, *, max_age_s: float) -> Callable[[datetime], Place | None]:
    """Return what finds places in the file that another process keeps."""

    def locate(instant: datetime) -> Place | None:
        return find_place(read_track(path), to_ms(instant), max_age_ms=max_age_s * 1000)

    return locate


def judge_by_gps(track: Track, *, now_ms: int) -> ClockQuality | None:
    """Return how far the wall clock is from GPS time; None without a fresh fix."""
    if not track.fixes or abs(now_ms - track.fixes[-1].heard_ms) > CLOCK_FRESH_MS:
        return None
    off_ms = max(abs(fix.heard_ms - fix.place.fix_ms) for fix in track.fixes[-5:])
    is_synced = off_ms < 2 * CLOCK_DELAY_MS
    error_ms = off_ms + CLOCK_DELAY_MS if is_synced else None
    return ClockQuality(synchronised=is_synced, error_ms=error_ms, told_by="gps")

"""Fixes of a GPS receiver: what gpsd says, what is kept of it, and how far the clock is off."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.clock import to_ms
from agent.base.gps import (
    KEPT,
    TRACK_LIMIT_BYTES,
    Fix,
    Track,
    add_fix,
    encode_track,
    find_place,
    judge_by_gps,
    make_locator,
    parse_report,
    read_track,
)
from agent.base.place import Place
from tests.fakes import NOON

NOON_MS = to_ms(NOON)
TPV = {
    "class": "TPV", "device": "/dev/ttyACM0", "mode": 3, "time": "2026-06-01T11:59:59.700Z",
    "lat": 38.5816123, "lon": -121.4943996, "altHAE": 9.1, "eph": 4.2, "speed": 11.3,
}  # fmt: skip


def fix(heard_ms, latitude_e7=385_816_123, fix_ms=None):
    place = Place(
        latitude_e7=latitude_e7,
        longitude_e7=-1_214_943_996,
        error_dm=42,
        fix_ms=heard_ms if fix_ms is None else fix_ms,
    )
    return Fix(place=place, heard_ms=heard_ms)


def parse(**changes):
    report = {key: value for key, value in (TPV | changes).items() if value is not None}
    return parse_report(json.dumps(report).encode(), heard_ms=NOON_MS)


def test_a_report_of_gpsd_becomes_a_fix():
    found = parse()
    assert found == Fix(
        place=Place(
            latitude_e7=385_816_123,
            longitude_e7=-1_214_943_996,
            error_dm=42,
            fix_ms=NOON_MS - 300,
        ),
        heard_ms=NOON_MS,
    )


@pytest.mark.parametrize(
    ("changes", "error_dm"),
    [({"eph": None, "epx": 3.0, "epy": 7.5}, 75), ({"eph": None}, 10_000), ({"eph": 1e9}, 10_000)],
    ids=["by axis", "not told", "huge"],
)
def test_a_position_has_an_error(changes, error_dm):
    assert parse(**changes).place.error_dm == error_dm


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": 1}, {"mode": None}, {"lat": None}, {"lon": None}, {"time": None},
        {"class": "SKY"}, {"lat": 91.0}, {"lon": -180.1}, {"time": "2026-06-01T12:00:00"},
        {"lat": "38"}, {"mode": "3"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_fix_is_left_out(changes):
    assert parse(**changes) is None


@given(st.binary(max_size=300))
def test_no_line_makes_it_stumble(line):
    assert parse_report(line, heard_ms=0) is None


def test_numbers_beyond_json_are_no_fix():
    for text in (b'{"class":"TPV","mode":3,"lat":NaN}', b"[" * 70_000, b"{" * 2000):
        assert parse_report(text, heard_ms=0) is None


def test_two_minutes_are_kept_and_come_back_from_the_file(tmp_path):
    track = Track()
    for second in range(KEPT + 30):
        track = add_fix(track, fix(NOON_MS + second * 1000))
    assert len(track.fixes) == KEPT
    assert track.fixes[0].heard_ms == NOON_MS + 30_000
    path = tmp_path / "track"
    path.write_bytes(encode_track(track))
    assert path.stat().st_size < TRACK_LIMIT_BYTES / 2
    assert read_track(path) == track


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"fixes": [1]}', b"[]" * 40_000], ids=str)
def test_a_track_that_makes_no_sense_is_no_track(tmp_path, content):
    path = tmp_path / "track"
    if content is not None:
        path.write_bytes(content)
    assert read_track(path) == Track()


@pytest.mark.parametrize(
    ("seconds", "latitude"), [(0, 1), (0.4, 1), (0.6, 2), (4.9, 3), (5.1, None), (-3.1, None)]
)
def test_a_read_gets_the_nearest_fix_if_it_is_near(seconds, latitude):
    track = Track(fixes=tuple(fix(NOON_MS + n * 1000, n + 1) for n in range(3)))
    found = find_place(track, NOON_MS + round(seconds * 1000), max_age_ms=3000)
    assert (found and found.latitude_e7) == latitude


def test_the_watcher_s_locator_reads_the_file_each_time(tmp_path):
    locate = make_locator(tmp_path / "track", max_age_s=3.0)
    assert locate(NOON) is None
    (tmp_path / "track").write_bytes(encode_track(Track(fixes=(fix(NOON_MS, 7),))))
    assert locate(NOON + timedelta(seconds=2)).latitude_e7 == 7
    assert locate(NOON + timedelta(seconds=9)) is None


@pytest.mark.parametrize(
    ("off_ms", "synchronised", "error_ms"),
    [(300, True, 1300), (-700, True, 1700), (60_000, False, None)],
)
def test_gps_tells_how_far_the_clock_is_off(off_ms, synchronised, error_ms):
    track = Track(fixes=tuple(fix(NOON_MS + n, fix_ms=NOON_MS + n - off_ms) for n in range(9)))
    quality = judge_by_gps(track, now_ms=NOON_MS + 5000)
    assert (quality.synchronised, quality.error_ms) == (synchronised, error_ms)
    assert quality.told_by == "gps"


def test_an_old_fix_tells_nothing_of_the_clock():
    assert judge_by_gps(Track(fixes=(fix(NOON_MS),)), now_ms=NOON_MS + 20_000) is None
    assert judge_by_gps(Track(), now_ms=NOON_MS) is None


def test_a_place_hides_itself():
    found = parse()
    assert "38" not in repr(found.place)
    assert "38" not in repr(Track(fixes=(found,))).replace(str(NOON_MS), "")

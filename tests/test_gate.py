"""What may be kept, and what is a hit: exactly a plate of the list, surely, in time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.base.records import PlateText
from agent.gate import EMPTY_HOTLIST, GateRules, OpenAlert, OpenAlerts, admit, index_hotlist
from agent.gate.hotlist import MATCHES_LIMIT
from agent.trust.hotlist import Columns, open_hotlist, unpack_columns
from tests.lists import CITY_SIGNER, HOUR_MS, NOON_MS, entry, make_list, sign_list
from tests.sealing import plate_read

HOTLIST = make_list("7KXR482", "3CEH915")


def read(text="7KXR482", *, sureness=0.97, agreed=5, abstained=False):
    sure = (0.99,) * (len(text) - 1) + (sureness,)
    return plate_read(
        text=PlateText(text), confidences=sure, frames_agreed=agreed, abstained=abstained
    )


def rules(mode="all"):
    return GateRules(mode=mode, min_hit_confidence=0.9, min_hit_frames=3)


def lane_of(one, mode, *, hotlist=HOTLIST, now_ms=NOON_MS):
    return admit(one, rules=rules(mode), hotlist=hotlist, now_ms=now_ms)[0]


@pytest.mark.parametrize("mode", ["all", "hits-only"])
def test_a_sure_read_of_a_listed_plate_is_a_hit(mode):
    lane, matches = admit(read(), rules=rules(mode), hotlist=HOTLIST, now_ms=NOON_MS)
    assert lane is Lane.HITS
    assert [(m.purpose, m.agency, m.case) for m in matches] == [
        ("stolen-vehicle", "Police Department", "26-0117")
    ]


NO_HITS = [
    pytest.param(read("8ABC123"), id="not on the list"),
    pytest.param(read("7KXR483"), id="one character off"),
    pytest.param(read("7KXR48"), id="one character less"),
    pytest.param(read("7KXR4822"), id="one character more"),
    pytest.param(read(sureness=0.89), id="one character unsure"),
    pytest.param(read(agreed=2), id="too few frames"),
    pytest.param(read(abstained=True), id="unreadable"),
]


@pytest.mark.parametrize("one", NO_HITS)
@pytest.mark.parametrize(("mode", "lane"), [("all", Lane.READS), ("hits-only", None)])
def test_what_is_no_hit_is_a_read_or_nothing(one, mode, lane):
    assert lane_of(one, mode) is lane


def test_without_a_list_there_are_no_hits():
    assert len(EMPTY_HOTLIST) == 0
    assert not EMPTY_HOTLIST.is_expired(now_ms=NOON_MS)
    assert lane_of(read(), "hits-only", hotlist=EMPTY_HOTLIST) is None


def test_a_list_of_nobody_has_no_hits():
    nobody = make_list()
    assert lane_of(read(), "hits-only", hotlist=nobody) is None
    assert nobody.find("7KXR482", now_ms=NOON_MS) == ()


def test_an_expired_list_alerts_nobody_and_says_that_it_has_expired():
    last_ms = NOON_MS + 24 * HOUR_MS - 1
    assert lane_of(read(), "all", now_ms=last_ms) is Lane.HITS
    assert not HOTLIST.is_expired(now_ms=last_ms)
    assert lane_of(read(), "all", now_ms=last_ms + 1) is Lane.READS
    assert HOTLIST.is_expired(now_ms=last_ms + 1)


def test_an_expired_entry_alerts_nobody_while_its_neighbours_do():
    minute = NOON_MS // 60_000 + 10
    both = make_list(
        entry("7KXR482", case="over", expires_minute=minute), entry("7KXR482", case="on")
    )
    cases = [match.case for match in both.find("7KXR482", now_ms=NOON_MS)]
    assert sorted(cases) == ["on", "over"]
    (match,) = both.find("7KXR482", now_ms=minute * 60_000)
    assert match.case == "on"


def test_an_alert_names_each_of_its_entries_up_to_a_limit():
    many = make_list(*[entry("7KXR482", case=f"26-{n:03d}") for n in range(40)])
    assert len(many.find("7KXR482", now_ms=NOON_MS)) == MATCHES_LIMIT


class Counting(np.ndarray):
    """Counts how often somebody takes something out of it."""

    taken = 0

    def __getitem__(self, place):
        Counting.taken += 1
        return super().__getitem__(place)


def test_a_plate_that_a_list_names_a_hundred_thousand_times_costs_no_more_steps():
    count = 100_000
    one = make_list("7KXR482")
    columns = {
        name: np.repeat(getattr(one, name), count).view(Counting)
        for name in ("plates", "states", "purposes", "agencies", "expiries")
    }
    many = replace(one, case_ends=np.arange(1, count + 1), cases=b"1" * count, **columns)
    Counting.taken = 0
    assert len(many.find("7KXR482", now_ms=NOON_MS)) == MATCHES_LIMIT
    assert Counting.taken < 20 * MATCHES_LIMIT


plates = st.text("ABC0189", min_size=1, max_size=16)


@given(st.lists(plates, max_size=30), plates)
@settings(deadline=None, max_examples=60)
def test_a_look_up_finds_exactly_the_plates_of_the_list(listed, other):
    hotlist = make_list(*listed)
    for plate in {*listed, other}:
        assert bool(hotlist.find(plate, now_ms=NOON_MS)) == (plate in listed)


@pytest.mark.parametrize("plate", ["", "A" * 17])
def test_what_no_plate_can_be_is_not_found(plate):
    assert HOTLIST.find(plate, now_ms=NOON_MS) == ()


def test_the_list_hides_its_plates():
    assert "7KXR482" not in repr(HOTLIST)
    assert "7KXR482" not in repr(entry("7KXR482"))
    assert "26-0117" not in repr(HOTLIST.find("7KXR482", now_ms=NOON_MS))


def changed(**columns):
    """Return head and columns of a list of two, some columns replaced."""
    head = open_hotlist(sign_list("3CEH915", "7KXR482"), (CITY_SIGNER.public_key,))
    found = unpack_columns(head)
    fields = {name: getattr(found, name) for name in found.__slots__}
    return head, Columns(**(fields | columns))


def padded(*texts):
    return b"".join(text.encode().ljust(16, b"\0") for text in texts)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"plates": padded("7KXR482", "3CEH915")}, "not in order"),
        ({"plates": padded("", "7KXR482")}, "a plate is empty"),
        ({"plates": padded("3CE\0 15", "7KXR482")}, "not of A-Z"),
        ({"plates": padded("3CE\x00915", "7KXR482")}, "goes on after its end"),
        ({"plates": padded("3ceh915", "7KXR482")}, "not of A-Z"),
        ({"expiries": b"\0\0\0\0\xff\xff\xff\xff"}, "after the year 9999"),
        ({"states": b"\0\1"}, "no text in its table"),
        ({"purposes": b"\7\0"}, "no text in its table"),
        ({"agencies": b"\0\0\0\1"}, "no text in its table"),
        ({"case_ends": b"\7\0\0\0\7\0\0\0"}, "empty or too long"),
        ({"case_ends": b"\x0e\0\0\0\7\0\0\0"}, "empty or too long"),
        ({"cases": b"26-0117"}, "empty or too long"),
        ({"cases": b"26-0117\n6-0117"}, "not plain text"),
    ],
)
def test_columns_that_say_nonsense_are_refused_without_a_plate(columns, words):
    with pytest.raises(IntegrityError, match=words) as caught:
        index_hotlist(*changed(**columns))
    assert "7KXR" not in str(caught.value)


def test_an_alert_stands_open_until_its_passage_ends():
    alerts, first = OpenAlerts(), OpenAlert(sequence=4, text="7KXR482")
    alerts.add((1,), first)
    assert not alerts.covers((2,), "3CEH915")
    assert alerts.covers((3,), "7KXR482")  # the vehicle is followed anew under another number
    assert alerts.close((9,)) == ()
    assert alerts.close((3, 8)) == (first,)
    assert len(alerts) == 0
    assert not alerts.covers((1,), "7KXR482")


def test_an_alert_that_was_lost_is_not_ended_but_made_anew():
    alerts = OpenAlerts()
    alerts.add((1,), OpenAlert(sequence=4, text="7KXR482"))
    alerts.lose("7KXR482")
    assert alerts.covers((1,), "7KXR482")  # not again while the vehicle is in view
    assert alerts.close((1,)) == ()
    assert len(alerts) == 0

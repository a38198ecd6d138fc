"""What may be kept, and in which lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead, PlateText
from agent.gate import EMPTY_HOTLIST, GateRules, HotlistEntry, admit, parse_hotlist
from tests.fakes import NOON

HOTLIST = parse_hotlist(b"7KXR482\n3CEH915\n", place="list.txt")


def make_read(text="7KXR482", *, sureness=0.99, agreed=5, abstained=False) -> PlateRead:
    return PlateRead(
        text=PlateText(text),
        confidences=(0.999,) * (len(text) - 1) + (sureness,),
        abstained=abstained,
        frames_seen=9,
        frames_agreed=agreed,
        first_seen=NOON,
        last_seen=NOON,
        first_frame=0,
        last_frame=9,
        direction=Direction.AWAY,
        corners=(0.0,) * 8,
        crop_jpeg=b"",
    )


def rules(mode="all") -> GateRules:
    return GateRules(mode=mode, min_hit_confidence=0.9, min_hit_frames=3)


@pytest.mark.parametrize("mode", ["all", "hits-only"])
def test_a_sure_read_of_a_plate_on_the_list_is_a_hit_in_both_modes(mode):
    assert admit(make_read(), rules=rules(mode), hotlist=HOTLIST) is Lane.HITS


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(make_read("8ABC123"), id="not on the list"),
        pytest.param(make_read("7KXR483"), id="one character off"),
        pytest.param(make_read("7KXR48"), id="one character less"),
        pytest.param(make_read(sureness=0.89), id="one character unsure"),
        pytest.param(make_read(agreed=2), id="too few frames"),
        pytest.param(make_read(abstained=True), id="unreadable"),
    ],
)
@pytest.mark.parametrize(("mode", "lane"), [("all", Lane.READS), ("hits-only", None)])
def test_what_is_no_hit_is_a_read_or_nothing(read, mode, lane):
    assert admit(read, rules=rules(mode), hotlist=HOTLIST) is lane


def test_an_empty_list_has_no_hits():
    assert len(EMPTY_HOTLIST) == 0
    assert admit(make_read(), rules=rules("hits-only"), hotlist=EMPTY_HOTLIST) is None


def test_plates_are_compared_without_case_spaces_and_dashes():
    found = parse_hotlist(b" 7kxr-482 \n3 CEH 915\n", place="list.txt")
    assert set(found.entries) == {"7KXR482", "3CEH915"}


def test_a_table_tells_why_a_plate_is_looked_for():
    content = b'plate,state,purpose,case\r\n7KXR482,CA,"stolen, armed",26-0117\r\n3CEH915,NV\r\n'
    found = parse_hotlist(content, place="list.csv")
    assert found.entries == {
        "7KXR482": (HotlistEntry(state="CA", purpose="stolen, armed", case="26-0117"),),
        "3CEH915": (HotlistEntry(state="NV", purpose="", case=""),),
    }


def test_a_plate_may_be_looked_for_twice():
    found = parse_hotlist(b"7KXR482,CA\n7KXR482,NV\n", place="list.csv")
    assert [entry.state for entry in found.entries["7KXR482"]] == ["CA", "NV"]


def test_comments_empty_lines_and_a_byte_order_mark_are_skipped():
    content = b"\xef\xbb\xbf# stolen this week\n\n7KXR482\n"
    assert set(parse_hotlist(content, place="list.txt").entries) == {"7KXR482"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"7KXR482\n7KX*482\n", "line 2: found no plate"),
        (b"7KXR482\n,CA,stolen\n", "line 2: found no plate"),
        ("7KXR482\n7KXR48\u00c4\n".encode(), "line 2: found no plate"),
        (b"A" * 17, "line 1: found no plate"),
        (b"7KXR482,CA,stolen,1,more\n", "line 1: found 5 fields"),
        (b'7KXR482\n"' + b"A" * 200_000, "line 2: cannot be split"),
        (b"7KXR482\n\xff\xfe", "byte 8 is not UTF-8"),
    ],
    ids=["sign", "no plate", "foreign letter", "too long", "too many fields", "huge", "no text"],
)
def test_a_bad_line_is_refused_by_its_number_and_never_shown(content, message):
    with pytest.raises(ConfigError, match=rf"list\.txt: {message}") as caught:
        parse_hotlist(content, place="list.txt")
    assert "7KX" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_list_or_an_error_of_the_operator(text):
    try:
        found = parse_hotlist(text.encode(), place="list.txt")
    except ConfigError:
        return
    assert all(plate.isascii() and plate.isalnum() for plate in found.entries)


def test_the_list_hides_its_plates():
    assert "7KXR482" not in repr(HOTLIST)

"""The arithmetic of the bench: index, truth, meter, projection."""

from datetime import timedelta
from functools import partial

import numpy as np
import pytest

from agent.base.errors import InputError
from agent.base.records import Direction, PlateRead, PlateText
from agent.cli.bench_boards import BOARDS, project
from agent.cli.bench_index import find_nearest, is_whole_picture, load_index
from agent.cli.bench_meter import Meter
from agent.cli.bench_truth import SLACK_FRAMES, Vehicle, compare_reads, load_truth
from tests.fakes import NOON
from tests.plates import make_corners

HEADING = "dataset,use,path,x1,y1,x2,y2,x3,y3,x4,y4,text,region\n"
CORNERS = "10,20,110,20,110,70,10,70"


def load(tmp_path, rows: str, *, heading: str = HEADING, datasets=frozenset()):
    index = tmp_path / "index.csv"
    index.write_text(heading + rows)
    return load_index(index, datasets=datasets)


def test_rows_of_one_picture_belong_together(tmp_path):
    first, second = load(
        tmp_path, f"a,x,1.jpg,{CORNERS},abc123,us\na,x,2.jpg,,,,,,,,,,\na,x,1.jpg,{CORNERS},,\n"
    )
    assert (first.path, [label.text for label in first.labels]) == ("1.jpg", ["ABC123", ""])
    np.testing.assert_array_equal(first.labels[0].corners, make_corners(10, 20, 100, 50))
    assert (second.path, second.labels) == ("2.jpg", ())


def test_only_the_datasets_asked_for_are_taken(tmp_path):
    rows = f"a,x,1.jpg,{CORNERS},,\nb,x,2.jpg,{CORNERS},,\n"
    pictures = load(tmp_path, rows, datasets=frozenset({"b"}))
    assert [picture.path for picture in pictures] == ["2.jpg"]


def test_an_index_of_nothing_but_paths_is_enough(tmp_path):
    (picture,) = load(tmp_path, "1.jpg\n", heading="path\n")
    assert (picture.path, picture.dataset, picture.labels) == ("1.jpg", "", ())


@pytest.mark.parametrize(
    ("rows", "heading", "message"),
    [
        ("1.jpg\n", "file\n", "found the columns file; expected path"),
        (f"a,x,1.jpg,{CORNERS},,\n", HEADING, "found a; expected rows of b"),
        ("", HEADING, "found no row"),
        ("b,x,1.jpg,1,2,3,,,,,,,\n", HEADING, r"1\.jpg: found corners .* expected eight numbers"),
    ],
    ids=["columns", "dataset", "empty", "corners"],
)
def test_a_spoilt_index_is_refused_with_its_place(tmp_path, rows, heading, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, rows, heading=heading, datasets=frozenset({"b"}))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x01"], ids=["missing", "no text"])
def test_an_index_that_cannot_be_read_is_refused(tmp_path, content):
    index = tmp_path / "index.csv"
    if content:
        index.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        load_index(index, datasets=frozenset())


def test_a_label_as_large_as_the_picture_says_that_it_is_the_plate(tmp_path):
    (picture,) = load(tmp_path, f"a,x,1.jpg,{CORNERS},,\n")
    (label,) = picture.labels
    assert is_whole_picture(label, width_px=102, height_px=51)
    assert not is_whole_picture(label, width_px=110, height_px=50)


def test_the_plate_nearest_to_the_middle_of_the_label_counts(tmp_path):
    (label,) = load(tmp_path, f"a,x,1.jpg,{CORNERS},,\n")[0].labels
    plates = np.stack([make_corners(x, 30, 60, 20) for x in (300, 70, 25)])
    assert find_nearest(label, plates) == 2
    assert find_nearest(label, plates[:1]) is None
    assert find_nearest(label, plates[:0]) is None


def make_read(text: str, first: int, last: int, *, abstained: bool = False) -> PlateRead:
    return PlateRead(
        text=PlateText(text),
        confidences=(0.9,) * len(text),
        abstained=abstained,
        frames_seen=3,
        frames_agreed=3,
        first_seen=NOON,
        last_seen=NOON + timedelta(seconds=1),
        first_frame=first,
        last_frame=last,
        direction=Direction.AWAY,
        corners=(0.0,) * 8,
        crop_jpeg=b"",
    )


TRUTH = (
    Vehicle(text="7KXR482", first_frame=0, last_frame=30),
    Vehicle(text="3CEH915", first_frame=100, last_frame=130),
)


def test_a_read_is_right_when_text_and_time_agree():
    found = compare_reads((make_read("7KXR482", 5, 20), make_read("3CEH915", 110, 150)), TRUTH)
    assert (found.vehicles, found.right, found.wrong, found.missed) == (2, 2, 0, ())


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(make_read("7KXR483", 5, 20), id="other text"),
        pytest.param(make_read("7KXR482", 31 + SLACK_FRAMES, 99), id="other time"),
    ],
)
def test_a_read_is_wrong_when_text_or_time_differ(read):
    found = compare_reads((read,), TRUTH)
    assert (found.right, found.wrong) == (0, 1)
    assert set(found.missed) == {"7KXR482", "3CEH915"}


def test_an_abstained_read_is_neither_right_nor_wrong_but_its_guess_is_counted():
    found = compare_reads((make_read("7KXR482", 5, 20, abstained=True),), TRUTH)
    assert (found.right, found.right_guess, found.wrong, found.abstained) == (0, 1, 0, 1)


def test_a_vehicle_that_is_read_twice_is_right_once():
    found = compare_reads((make_read("7KXR482", 0, 9), make_read("7KXR482", 15, 30)), TRUTH)
    assert (found.right, found.repeated, found.wrong) == (1, 1, 0)


def test_a_truth_file_has_one_vehicle_a_line(tmp_path):
    place = tmp_path / "truth.jsonl"
    place.write_text(
        '{"text": "7KXR482", "first_frame": 0, "last_frame": 30, '
        '"corners": {"5": [[0, 0], [1, 0], [1, 1], [0, 1]]}}\n\n'
        '{"text": "3CEH915", "first_frame": 100, "last_frame": 130}\n'
    )
    assert [vehicle.text for vehicle in load_truth(place)] == ["7KXR482", "3CEH915"]


def test_a_spoilt_truth_file_is_refused_with_its_line(tmp_path):
    place = tmp_path / "truth.jsonl"
    place.write_text('{"text": "A", "first_frame": 0, "last_frame": 3}\n{"text": "B"}\n')
    with pytest.raises(InputError, match="line 2: Object missing required field"):
        load_truth(place)
    with pytest.raises(InputError, match="cannot be read"):
        load_truth(tmp_path / "none.jsonl")


def test_a_stage_within_another_counts_for_itself_only():
    meter = Meter()
    work = partial(sum, range(300_000))
    with meter.measure("outer"):
        work()
        with meter.measure("inner"):
            for _ in range(9):
                work()
    spent = meter.per_frame_ms(1)
    assert set(spent) == {"outer", "inner"}
    assert 0 < spent["outer"] < spent["inner"]


def test_the_boards_are_as_fast_as_their_published_figures():
    rates = {board.name: round(board.gflop_per_s, 1) for board in BOARDS}
    assert rates == {"Pi 5": 43.7, "Pi 4": 15.5}


def test_a_projection_adds_networks_on_four_cores_and_other_code_on_one():
    pi_5 = BOARDS[0]
    found = project(pi_5, gflop=0.437, other_ms=2.0, reads_per_frame=2.0)
    assert found.core_ms == pytest.approx(4 * 10.0 + 2.0 * 2.5, rel=0.01)
    assert found.share_at_30_fps == pytest.approx(45 / 1000 * 30 / 4, rel=0.01)
    assert found.max_fps == pytest.approx(4000 / 45, rel=0.01)
    assert found.reads_per_minute == pytest.approx(2 * 30 * 60)


def test_a_board_that_is_too_slow_reads_less():
    found = project(BOARDS[1], gflop=10.0, other_ms=0.0, reads_per_frame=1.0)
    assert found.max_fps < 2
    assert found.reads_per_minute == pytest.approx(found.max_fps * 60)

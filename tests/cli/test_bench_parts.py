"""The arithmetic of the bench: index, truth, meter, projection."""

from datetime import timedelta
from functools import partial

import cv2
import numpy as np
import onnxruntime as ort
import pytest

from agent.base.errors import InputError
from agent.base.health import WatchCounters
from agent.base.records import Direction, PlateRead, PlateText
from agent.cli.bench_boards import BOARDS, project
from agent.cli.bench_clip import Moment
from agent.cli.bench_index import find_nearest, is_whole_picture, load_index
from agent.cli.bench_limits import check_limits, list_usual
from agent.cli.bench_meter import Meter
from agent.cli.bench_report import count_frames, measure_growth
from agent.cli.bench_truth import SLACK_FRAMES, Vehicle, compare_reads, load_truth
from agent.cli.bench_yardstick import CHANNELS, KERNEL_GFLOP, SIDE, Kernel, encode_convolution
from agent.vision.session import make_options
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


def test_the_yardstick_is_a_convolution():
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((2, 2, 3, 3), np.float32)
    content = encode_convolution(weights, side=8)
    session = ort.InferenceSession(
        content, make_options(threads=1), providers=["CPUExecutionProvider"]
    )
    planes = rng.standard_normal((1, 2, 8, 8), np.float32)
    (found,) = session.run(None, {"x": planes})
    for channel in range(2):
        parts = [
            cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_CONSTANT)
            for plane, kernel in zip(planes[0], weights[channel], strict=True)
        ]
        np.testing.assert_allclose(found[0, channel], sum(parts), atol=1e-4)


def test_the_yardstick_counts_what_it_takes():
    kernel = Kernel()
    assert (kernel.cpu_ms, kernel.total_ns, kernel.gflop_per_s) == (0.0, 0, 0.0)
    for _ in range(3):
        kernel.run()
    assert len(kernel.spent_ns) == 3
    assert kernel.total_ns == sum(kernel.spent_ns) > 0
    assert kernel.gflop_per_s == pytest.approx(KERNEL_GFLOP / kernel.cpu_ms * 1e3)
    assert pytest.approx(4 * 2e-9 * 9 * (CHANNELS * SIDE) ** 2) == KERNEL_GFLOP


def moments(*rss_mib, every_s=10.0):
    """Return moments of a run with that memory."""
    return [
        Moment(at_s=n * every_s, frames=n, crops_read=0, vehicles=0, frames_shed=0, rss_mib=one)
        for n, one in enumerate(rss_mib)
    ]


WARM = [100.0, 150.0, 180.0, 180.0, 181.0]


@pytest.mark.parametrize(
    ("rss_mib", "grown"),
    [
        pytest.param([*WARM, *[181.0] * 15], 0.0, id="flat after a start that claims memory"),
        pytest.param([*WARM, *np.linspace(181, 195, 15)], 10.0, id="growing"),
        pytest.param([*WARM, *[190.0] * 5, *[181.0] * 10], -9.0, id="given back"),
        pytest.param(WARM, None, id="too short"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_growth_of_memory_is_told_from_the_second_quarter_to_the_last(rss_mib, grown):
    assert measure_growth(moments(*rss_mib)) == (None if grown is None else pytest.approx(grown))


@pytest.mark.parametrize(
    ("figures", "held"),
    [
        ({"frames_unaccounted": 0, "rss_growth_mib": None}, [True]),
        ({"frames_unaccounted": 1, "rss_growth_mib": None}, [False]),
        ({"frames_unaccounted": 0, "rss_growth_mib": 1.0}, [True, True]),
        ({"frames_unaccounted": 0, "rss_growth_mib": 4.5}, [True, False]),
    ],
)
def test_every_run_must_account_for_its_frames_and_not_grow(figures, held):
    reports = [{"clip": "one.mp4", **figures}]
    assert [one["held"] for one in check_limits(reports, list_usual(reports))] == held


def test_frames_are_added_up():
    counters = WatchCounters(
        frames_looked=1, frames_motionless=2, frames_passed=4, frames_shed=8, failed_frames=16
    )
    assert count_frames(counters) == 31

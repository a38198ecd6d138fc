"""The evaluation command: its arithmetic, its report, and what never gets into it."""

import csv
import itertools
import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import InputError
from agent.base.settings import DetectSettings, ModelSettings
from agent.cli.bench_truth import SLACK_FRAMES
from agent.cli.models import open_models
from models.evaluate import calibrate, command
from models.evaluate.clips import list_clips, measure_clip
from models.evaluate.figures import (
    Share,
    bin_reliability,
    choose_threshold,
    measure_gap,
    operate,
    trace_thresholds,
)
from models.evaluate.flops import count_macs, count_work
from models.evaluate.progress import draw_bar, track
from models.evaluate.rendered import Condition, make_subject, smear_kernel, take_picture
from models.evaluate.summary import summarise_clip
from models.evaluate.sweep import HELD_BACK, shoot_held_back
from models.evaluate.texts import align, fold, list_confusions

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
texts = st.text("ABC0", max_size=8)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BORN = ("8TRY417", "5QXN062", "3KMW958")
"""Made up for these tests."""


# Texts


@given(texts, texts)
def test_an_alignment_uses_every_character_of_both_once_and_in_order(true, read):
    pairs = align(true, read)
    assert [a for a, _ in pairs if a is not None] == list(range(len(true)))
    assert [b for _, b in pairs if b is not None] == list(range(len(read)))


@given(texts, texts)
def test_there_are_no_confusions_exactly_where_the_texts_are_equal(true, read):
    assert (list_confusions(true, read) == ()) == (true == read)


@pytest.mark.parametrize(
    ("true", "read", "expected"),
    [
        ("8ABC123", "BABC123", (("8", "B"),)),
        ("8ABC123", "ABC123", (("8", ""),)),
        ("8ABC123", "8ABC1231", (("", "1"),)),
        ("AB", "", (("A", ""), ("B", ""))),
    ],
    ids=["changed", "missing", "too many", "nothing read"],
)
def test_confusions_name_what_was_there_and_what_was_read(true, read, expected):
    assert list_confusions(true, read) == expected


def test_folding_joins_what_nobody_can_tell_apart():
    assert fold("OIL01") == "01L01"


# Figures


@given(st.integers(0, 500), st.integers(1, 500))
def test_an_interval_holds_its_share_and_stays_within_bounds(count, of):
    share = Share(count=min(count, of), of=of)
    low, high = share.interval_percent
    assert 0 <= low <= share.percent + 1e-9
    assert share.percent - 1e-9 <= high <= 100


def test_an_interval_is_wilson_s():
    """Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 0 of 20."""
    assert Share(count=81, of=263).interval_percent == pytest.approx((25.53, 36.62), abs=0.01)
    assert Share(count=0, of=20).interval_percent == pytest.approx((0, 16.11), abs=0.01)


def test_a_share_of_nothing_has_no_percentage():
    assert Share(count=0, of=0).as_dict()["percent"] is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_every_guess_stands_in_one_range_of_confidence(guesses):
    sure, right = (np.array(column) for column in zip(*guesses, strict=True))
    bins = bin_reliability(sure, right)
    assert sum(one.right.of for one in bins) == len(guesses)
    assert sum(one.right.count for one in bins) == right.sum()
    assert all(one.low <= one.confidence <= one.high for one in bins if one.right.of)


def test_confidence_that_is_the_truth_has_no_gap_and_a_boast_has_all_of_it():
    sure = np.full(100, 0.75)
    assert measure_gap(bin_reliability(sure, np.arange(100) < 75)) == pytest.approx(0)
    assert measure_gap(bin_reliability(np.ones(10), np.zeros(10, bool))) == pytest.approx(100)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_a_higher_threshold_never_answers_more(guesses):
    sure, right = (np.array(column) for column in zip(*guesses, strict=True))
    for before, after in itertools.pairwise(trace_thresholds(sure, right)):
        assert after.answered.count <= before.answered.count
        assert after.wrong.count <= before.wrong.count
        assert after.answered.count == after.right.count + after.wrong.count


@given(st.lists(st.tuples(st.floats(0, 0.94), st.booleans()), min_size=1, max_size=60))
def test_the_threshold_leaves_a_fifth_of_the_wrong_guesses_and_no_lower_one_does(guesses):
    sure, right = (np.array(column) for column in zip(*guesses, strict=True))
    chosen = choose_threshold(sure, right)
    allowed = (~right).sum() / 5
    assert operate(sure, right, threshold=chosen).wrong.count <= allowed
    if chosen:
        assert operate(sure, right, threshold=round(chosen - 0.05, 6)).wrong.count > allowed


# Work of a network


def test_the_work_is_that_of_the_manifest():
    manifest = tomllib.loads((MODELS / "manifest.toml").read_text())
    reader, detector = manifest["reader"], manifest["detector"]
    shape = (1, 1, reader["input_height_px"], reader["input_width_px"])
    assert count_work(MODELS / "reader.onnx", shape).gmac == pytest.approx(reader["gmac"], rel=2e-3)
    work = count_work(MODELS / "detector.onnx", (1, 1, 384, 640))
    assert work.gmac == pytest.approx(detector["gmac"], rel=2e-3)
    assert work.file_bytes <= 2.5e6


def test_twice_the_crops_are_twice_the_work():
    one, two = (count_work(MODELS / "reader.onnx", (n, 1, 48, 128)).gmac for n in (1, 2))
    assert two == pytest.approx(2 * one)


def test_an_unknown_kind_of_product_is_refused_rather_than_left_out():
    with pytest.raises(InputError, match="QLinearConv"):
        count_macs({"op_name": "QLinearConv"})


def test_a_file_that_is_no_network_is_named(tmp_path):
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"none\.onnx"):
        count_work(tmp_path / "none.onnx", (1, 1, 48, 128))


# Rendered pictures


def test_the_same_number_gives_the_same_picture_and_another_another():
    one, again, other = (shoot_held_back(HELD_BACK + n) for n in (3, 3, 4))
    assert np.array_equal(one.gray, again.gray)
    assert one.text == again.text
    assert not np.array_equal(one.gray, other.gray)


@pytest.mark.parametrize("width_px", [40.0, 120.0, 250.0])
def test_a_plate_is_as_wide_as_asked_and_not_wider_when_turned_away(width_px):
    subject = make_subject(5, worn=False)
    facing = take_picture(subject, Condition(width_px=width_px, yaw_deg=0)).corners
    turned = take_picture(subject, Condition(width_px=width_px, yaw_deg=50)).corners
    wide = np.linalg.norm(facing[1] - facing[0])
    assert wide == pytest.approx(width_px, rel=0.06)
    assert np.linalg.norm(turned[1] - turned[0]) < 0.75 * wide


def test_less_light_is_darker_and_a_smear_keeps_the_brightness():
    subject = make_subject(6, worn=False)
    day, night, smeared = (
        take_picture(subject, one).gray.mean()
        for one in (Condition(), Condition(light=0.1), Condition(motion_px=7))
    )
    assert night < 0.3 * day
    assert smeared == pytest.approx(day, rel=0.02)


@pytest.mark.parametrize("length_px", [1.0, 2.5, 3.0, 8.4])
def test_a_smear_is_as_long_as_asked(length_px):
    kernel = smear_kernel(length_px)
    assert kernel.sum() == pytest.approx(1)
    assert 1 / kernel.max() == pytest.approx(length_px, abs=1e-4)


# Progress


class Terminal:
    def __init__(self, *, tty: bool) -> None:
        self.tty, self.shown = tty, ""

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> None:
        self.shown += text

    def flush(self) -> None:
        pass


def test_a_terminal_sees_the_bar_move_and_a_file_one_line():
    ticks = iter(range(100))
    for tty, lines in ((True, 6), (False, 1)):
        out = Terminal(tty=tty)
        clock = lambda: float(next(ticks))  # noqa: E731
        assert list(track(range(5), total=5, name="work", stream=out, clock=clock)) == [
            0,
            1,
            2,
            3,
            4,
        ]
        assert out.shown.count("work") == lines
        assert out.shown.endswith("\n")


@pytest.mark.parametrize("total", [None, 0, 7])
def test_a_bar_is_drawn_for_any_total(total):
    assert "work" in draw_bar("work", 3, total, 2.0)


# The whole command


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rendered pictures with an index: a set of plates, one of pictures that show none."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, text in enumerate(BORN):
        shot = take_picture(make_subject(number, worn=False), Condition())
        cv2.imwrite(str(folder / f"{number}.png"), shot.gray)
        corners = {
            f"{axis}{place + 1}": f"{value:.1f}"
            for place, point in enumerate(shot.corners)
            for axis, value in zip("xy", point, strict=True)
        }
        rows.append({"dataset": "seen", "use": "validate", "path": f"{number}.png", "quad": "1",
                     "text": text, **corners})  # fmt: skip
    cv2.imwrite(str(folder / "empty.png"), np.full((480, 640), 90, np.uint8))
    rows.append({"dataset": "nothing", "use": "train-negatives", "path": "empty.png"})
    with (folder / "index.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder


QUICK = ("--sweep", "0", "--held-back", "0", "--no-clips")


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    quick = ("--sweep", "1", "--held-back", "3", "--no-clips")
    assert command.main([str(data), "--out", str(out), *quick]) == 0
    return out


def test_the_report_holds_every_set_with_shares_and_corners(report):
    tree = json.loads((report / "report.json").read_text())
    seen = tree["sets"]["seen"]
    assert seen["plates"] == len(BORN)
    assert seen["found"]["count"] == len(BORN)
    assert seen["corner_error_percent"]["median"] < 10
    assert tree["sets"]["nothing"]["without_plates"] == {
        "pictures": 1, "reads": 0, "pictures_with_reads": 0,
    }  # fmt: skip
    assert tree["networks"]["reader"]["gmac"] > 0.01
    assert tree["held_back"]["plates"] == 3
    assert set(tree["sweep"]) >= {"plate width", "blur", "yaw", "light"}


def test_neither_file_holds_a_labelled_text_or_a_picture_path(report):
    for name in ("report.json", "report.html"):
        content = (report / name).read_text()
        assert not any(text in content for text in BORN)
        assert not re.search(r"\.(png|jpe?g)\b|data:image", content)


def test_the_page_needs_no_other_address_and_no_script(report):
    page = (report / "report.html").read_text()
    assert not re.search(r"https?:|//|<script|<link|<img|url\(|@import", page)
    assert page.count("<svg") == page.count("</svg>") > 10


def test_texts_of_wrong_reads_are_written_only_when_asked_for(data, tmp_path):
    """The labels are not what the rendered plates show, so every read is wrong."""
    given = [str(data), "--out", str(tmp_path), "--datasets", "seen", *QUICK, "--with-plates"]
    assert command.main(given) == 0
    tree = json.loads((tmp_path / "report.json").read_text())
    assert {one["true"] for one in tree["wrong_reads"]["seen"]} <= set(BORN)
    assert BORN[0] in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda folder: (folder / "1.png").unlink(), "1 of 3 pictures of seen are missing"),
        (lambda folder: (folder / "1.png").write_bytes(b"no picture"), "1.png"),
        (lambda folder: (folder / "index.csv").unlink(), "index.csv"),
        (lambda folder: (folder / "index.csv").write_text("path\n"), "no set"),
    ],
    ids=["picture missing", "picture broken", "no index", "empty index"],
)
def test_data_that_cannot_be_used_is_named_without_a_traceback(
    data, tmp_path, capsys, spoil, named
):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in data.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spoil(copy)
    assert command.main([str(copy), "--out", str(tmp_path / "out"), *QUICK]) == InputError.exit_code
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said


def test_an_unknown_set_is_refused_with_those_that_exist(data, tmp_path, capsys):
    given = [str(data), "--out", str(tmp_path), "--datasets", "cars", *QUICK]
    assert command.main(given) == InputError.exit_code
    assert "found nothing, seen; expected cars" in capsys.readouterr().err


# Calibration


def boast(factor: float, count: int = 60) -> tuple[calibrate.Sight, ...]:
    """Return sights of a reader whose log-probabilities are `factor` times what is true."""
    rng = np.random.default_rng(1)
    sights = []
    for _ in range(count):
        columns = np.full((16, 37), -12.0, np.float32)
        columns[:, 36] = 0.0
        text = ""
        for place in range(1, 14, 2):
            first, second = rng.choice(36, 2, replace=False)
            share = rng.uniform(0.55, 0.95)
            columns[place] = -12.0
            columns[place, [first, second]] = np.log([share, 1 - share])
            text += ALPHABET[first if rng.random() < share else second]
        looks = columns[None] * np.float32(factor)
        sights.append(calibrate.Sight(columns=looks, centred=looks[:0], text=text))
    return tuple(sights)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (2.0, 2.0), (0.6, 0.6)])
def test_the_temperature_takes_back_what_a_reader_boasts(factor, expected):
    found = calibrate.choose_temperature(boast(factor, 200), alphabet=ALPHABET)
    assert found == pytest.approx(expected, rel=0.2)


def test_a_right_temperature_brings_the_characters_to_the_truth():
    sights = boast(2.0, 200)
    gaps = []
    for temperature in (1.0, 2.0):
        outcomes = calibrate.judge_sights(sights, temperature=temperature, alphabet=ALPHABET)
        gaps.append(measure_gap(bin_reliability(*calibrate.gather_characters(outcomes))))
    assert gaps[1] < 0.4 * gaps[0]


def test_a_plate_that_was_not_found_is_an_outcome_too():
    none = np.zeros((0, 1, 37), np.float32)
    nothing = calibrate.Sight(columns=none, centred=none, text="8TRY417")
    (outcome,) = calibrate.judge_sights([nothing], temperature=1.0, alphabet=ALPHABET)
    assert not outcome.found
    assert calibrate.measure_surprise([nothing], temperature=1.0, alphabet="A") == 0


def test_only_the_two_values_of_the_reader_change_in_the_manifest(tmp_path):
    manifest = tmp_path / "manifest.toml"
    manifest.write_text((MODELS / "manifest.toml").read_text())
    before = tomllib.loads(manifest.read_text())
    for temperature, threshold in ((1.3, 0.65), (0.9, 0.5)):
        calibrate.write_values(manifest, temperature=temperature, threshold=threshold)
        after = tomllib.loads(manifest.read_text())
        assert (after["reader"]["temperature"], after["reader"]["threshold"]) == (
            temperature, threshold,
        )  # fmt: skip
        for tree in (before, after):
            tree["reader"].pop("temperature", None)
            tree["reader"].pop("threshold", None)
        assert after == before


def test_calibration_of_too_few_plates_is_refused(capsys):
    assert calibrate.main(["--plates", "3"]) == InputError.exit_code
    assert "at least" in capsys.readouterr().err


def test_a_dry_run_of_the_calibration_writes_nothing(tmp_path, capsys):
    for name in ("manifest.toml", "detector.onnx", "reader.onnx"):
        (tmp_path / name).write_bytes((MODELS / name).read_bytes())
    before = (tmp_path / "manifest.toml").read_bytes()
    given = ["--models", str(tmp_path), "--plates", "20"]
    diagram = tmp_path / "reliability.svg"
    assert calibrate.main([*given, "--dry-run", "--diagram", str(diagram)]) == 0
    assert ET.fromstring(diagram.read_text()).tag.endswith("svg")  # noqa: S314  (our own)
    assert (tmp_path / "manifest.toml").read_bytes() == before
    assert calibrate.main(given) == 0
    assert "temperature" in tomllib.loads((tmp_path / "manifest.toml").read_text())["reader"]
    assert "% answered" in capsys.readouterr().out


def test_a_clip_is_compared_with_its_truth_and_no_text_leaves(tmp_path):
    for name in ("demo.mp4", "demo.truth.jsonl"):
        (tmp_path / name).write_bytes((ROOT / "tests" / "data" / name).read_bytes())
    models = open_models(ModelSettings(), DetectSettings())
    (path,) = list_clips((tmp_path, tmp_path / "missing"))
    tree = summarise_clip(measure_clip(path, models, max_frames=150))
    vehicles = [
        json.loads(line) for line in (tmp_path / "demo.truth.jsonl").read_text().splitlines()
    ]
    assert tree["frames"] == 150
    passed = [one for one in vehicles if one["last_frame"] <= 150 - SLACK_FRAMES]
    assert tree["truth"]["vehicles"] == len(passed) >= 5
    assert tree["truth"]["right_guess"] >= 5
    assert not any(one["text"] in json.dumps(tree) for one in vehicles)

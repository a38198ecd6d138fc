"""`homeplate bench images` on rendered plates, with the real models."""

import csv
import json

import cv2
import numpy as np
import pytest

from agent.cli import main
from agent.cli.bench_index import CORNER_COLUMNS
from tests.plates import make_corners, render, show_plates

LEFT, RIGHT = "7KXR482", "3CEH915"


def write_index(path, rows):
    """Write rows of (dataset, path, corners or None, text)."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "path", *CORNER_COLUMNS, "text", "license"])
        for dataset, name, corners, text in rows:
            numbers = [""] * 8 if corners is None else corners.ravel().tolist()
            table.writerow([dataset, name, *numbers, text, "own"])


@pytest.fixture
def pictures(tmp_path):
    """Return a folder with an index of two plates in one picture, one alone, and an empty road."""
    one, two = make_corners(100, 100, 140, 70), make_corners(400, 260, 120, 60)
    cv2.imwrite(
        str(tmp_path / "road.png"), show_plates({LEFT: one, RIGHT: two}, width=640, height=480)
    )
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((480, 640), 120, np.uint8))
    face = render("6WJD271")
    cv2.imwrite(str(tmp_path / "face.png"), face)
    whole = make_corners(0, 0, face.shape[1], face.shape[0])
    write_index(
        tmp_path / "index.csv",
        [
            ("road", "road.png", one, LEFT),
            ("road", "road.png", two, RIGHT),
            ("face", "face.png", whole, "6WJD271"),
            ("road", "empty.png", None, ""),
        ],
    )
    return tmp_path


def bench_images(folder, *options):
    index = str(folder / "index.csv")
    return main(["bench", "images", str(folder), "--index", index, *options])


def test_every_picture_becomes_one_line_with_all_that_was_seen(pictures, capsys):
    assert bench_images(pictures) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == ["road.png", "face.png", "empty.png"]
    road, face, empty = lines
    assert {plate["text"] for plate in road["plates"]} == {LEFT, RIGHT}
    assert [plate["text"] for plate in face["plates"]] == ["6WJD271"]
    assert empty["plates"] == []
    for line in lines:
        assert set(line) == {"image", "ms", "cpu_ms", "plates"}
        assert line["ms"] > 0
        assert line["cpu_ms"] > 0
    plate = next(plate for plate in road["plates"] if plate["text"] == LEFT)
    assert plate["abstained"] is False
    assert 0.5 < plate["min_char_confidence"] <= plate["confidence"] <= 1
    np.testing.assert_allclose(plate["corners"], make_corners(100, 100, 140, 70), atol=12)
    corners = np.array(plate["corners"])
    assert plate["box"] == [*corners.min(axis=0), *corners.max(axis=0)]


def test_the_summary_counts_right_plates_by_dataset_on_standard_error(pictures, capsys):
    assert bench_images(pictures) == 0
    table = capsys.readouterr().err.splitlines()
    assert table[0] == "3 of 3 pictures"
    assert table[1].split()[:3] == ["dataset", "pictures", "plates"]
    face, road = (line.split() for line in table[2:])
    assert face[:9] == ["face", "1", "1", "100.0", "100.0", "100.0", "0.0", "0.0", "0"]
    assert road[:9] == ["road", "2", "2", "100.0", "100.0", "100.0", "0.0", "0.0", "0"]


def test_only_the_datasets_and_as_many_pictures_as_asked_for(pictures, capsys):
    assert bench_images(pictures, "--datasets", "road", "--limit", "1") == 0
    assert [json.loads(line)["image"] for line in capsys.readouterr().out.splitlines()] == [
        "road.png"
    ]


def test_a_picture_that_is_missing_ends_the_bench_with_its_name(pictures, capsys):
    (pictures / "face.png").unlink()
    assert bench_images(pictures) == 66
    assert "face.png: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--threads", "0"], ["--lores-width", "99"], ["--threshold", "2"], ["--threads", "x"]]
)
def test_numbers_out_of_range_are_a_fault_of_the_command_line(wrong, capsys):
    assert main(["bench", "video", "clip.mp4", *wrong]) == 78
    assert wrong[0] in capsys.readouterr().err

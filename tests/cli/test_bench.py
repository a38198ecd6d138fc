"""`homeplate bench images` and `bench video`, on rendered plates, with the real models."""

import csv
import json

import av
import cv2
import numpy as np
import pytest

from agent.cli import main
from agent.cli.bench_index import CORNER_COLUMNS
from tests.plates import make_corners, render, show_plates

FRAMES = 16
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


@pytest.fixture
def clip(tmp_path):
    """Return a video of two vehicles that drive towards the camera side by side, and its truth."""
    path, truth = tmp_path / "clip.mp4", tmp_path / "truth.jsonl"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"crf": "16"}
        for step in range(FRAMES):
            plates = {
                LEFT: make_corners(90 - 2 * step, 60 + 20 * step, 110 + step, 55),
                RIGHT: make_corners(400 + 2 * step, 40 + 20 * step, 112 + step, 56),
            }
            picture = show_plates(plates, width=640, height=480)
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    rows = [{"text": text, "first_frame": 0, "last_frame": FRAMES - 1} for text in (LEFT, RIGHT)]
    truth.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, truth


def test_a_video_with_truth_gives_all_figures(clip, tmp_path):
    path, truth = clip
    out = tmp_path / "report.json"
    assert main(["bench", "video", str(path), "--truth", str(truth), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["frames"], report["broken_frames"]) == (FRAMES, 0)
    assert report["truth"]["strict_accuracy"] == 1.0
    assert report["truth"]["wrong"] == 0
    assert report["vehicles"] == 2
    assert report["shed_frames"] is None
    assert {read["text"] for read in report["reads"]} == {LEFT, RIGHT}
    stages = report["cpu_ms_per_frame"]
    assert list(stages) == [
        "decode", "lores", "detect", "pick", "track", "rectify", "read", "vote"
    ]  # fmt: skip
    assert all(spent > 0 for spent in stages.values())
    assert stages["detect"] > stages["track"]
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p95"]
    assert report["gflop_per_frame"] > 0.2
    assert [board["board"] for board in report["projected"]] == ["Pi 5", "Pi 4"]
    assert 3 <= report["plate_reads"] <= 2 * FRAMES
    assert report["plates_found"] >= 2 * FRAMES - 4


def test_the_table_says_what_is_projected_and_what_is_not_built(clip, capsys):
    path, truth = clip
    assert main(["bench", "video", str(path), "--truth", str(truth)]) == 0
    shown = capsys.readouterr().out
    assert "Strict accuracy 100.0 % of 2 vehicles" in shown
    assert shown.count("projected Pi") == 2
    assert "frames shed       not built yet" in shown
    assert LEFT in shown


def test_without_truth_nothing_is_said_about_accuracy(clip, capsys):
    assert main(["bench", "video", str(clip[0]), "--max-frames", "5"]) == 0
    shown = capsys.readouterr().out
    assert "frames            5 " in shown
    assert "No truth given" in shown


def test_a_folder_of_pictures_can_be_benched_as_a_video(pictures, capsys):
    assert main(["bench", "video", str(pictures)]) == 0
    assert "frames            3 " in capsys.readouterr().out


def test_a_clip_that_is_no_video_ends_in_one_line(tmp_path, capsys):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    assert main(["bench", "video", str(path)]) == 66
    message = capsys.readouterr().err
    assert message.startswith(f"homeplate: {path}: cannot be opened")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "wrong", [["--threads", "0"], ["--lores-width", "99"], ["--threshold", "2"], ["--threads", "x"]]
)
def test_numbers_out_of_range_are_a_fault_of_the_command_line(wrong, capsys):
    assert main(["bench", "video", "clip.mp4", *wrong]) == 78
    assert wrong[0] in capsys.readouterr().err

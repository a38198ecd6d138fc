"""The rendered clips and their truths agree with each other, with the code and with their names."""

import json
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from models.synth.clips import CLIPS, main
from models.synth.film import FPS, Reel, write_sheet

DATA = Path(__file__).parents[1] / "data"
WITH_PLATES = [name for name in CLIPS if name != "idle"]
SIZES_PX = {"rush": (1920, 1080)}
USUAL_SIZE_PX = (1280, 720)
LIMIT_BYTES = 16_000_000
"""Of all clips: the repository carries them for ever."""


@pytest.fixture(scope="module", params=WITH_PLATES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def truth(name: str) -> list[dict]:
    return load(name)


@pytest.fixture(scope="module")
def reel(name: str) -> Reel:
    return make(name)


@cache
def make(name: str) -> Reel:
    return CLIPS[name].make(CLIPS[name].seed)


def load(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.truth.jsonl").read_text().splitlines()]


def decode(name: str, numbers: set[int]) -> dict[int, np.ndarray]:
    with av.open(str(DATA / f"{name}.mp4")) as container:
        frames = enumerate(container.decode(video=0))
        found = {}
        for number, frame in frames:
            if number in numbers:
                found[number] = frame.to_ndarray(format="bgr24").astype(int)
            if number >= max(numbers):
                return found
    return found


def test_no_two_vehicles_carry_the_same_plate(truth: list[dict]) -> None:
    texts = [row["text"] for row in truth]
    assert len(texts) >= 15
    assert len(set(texts)) == len(texts)


def test_every_vehicle_comes_near_enough_to_be_read(truth: list[dict]) -> None:
    for row in truth:
        quads = np.array(list(row["corners"].values()))
        assert np.linalg.norm(quads[:, 1] - quads[:, 0], axis=-1).max() >= 35


def test_corners_lie_in_the_picture_and_within_the_passage(name: str, truth: list[dict]) -> None:
    for row in truth:
        numbers = [int(number) for number in row["corners"]]
        assert row["first_frame"] <= min(numbers) <= max(numbers) <= row["last_frame"]
        quads = np.array(list(row["corners"].values()))
        assert (quads >= 0).all()
        assert (quads <= SIZES_PX.get(name, USUAL_SIZE_PX)).all()


@pytest.mark.parametrize("each", CLIPS)
def test_the_shipped_clip_is_an_h264_file_of_the_stated_size(each: str) -> None:
    with av.open(str(DATA / f"{each}.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == SIZES_PX.get(each, USUAL_SIZE_PX)
        assert stream.average_rate == FPS
        assert stream.frames == make(each).frames


def test_all_clips_together_are_small_enough_for_the_repository() -> None:
    assert sum((DATA / f"{name}.mp4").stat().st_size for name in CLIPS) <= LIMIT_BYTES


def test_the_code_still_plans_the_shipped_clip(truth: list[dict], reel: Reel) -> None:
    planned = iter(reel.texts)
    assert all(row["text"] in planned for row in truth)  # in this order; few are never in view


def test_a_rendered_frame_is_the_shipped_one_with_the_truths_corners(
    name: str, truth: list[dict], reel: Reel
) -> None:
    row = truth[len(truth) // 2]
    number, quad = next(iter(row["corners"].items()))
    picture, corners = reel.shoot(int(number))
    np.testing.assert_allclose(corners[reel.texts.index(row["text"])], quad, atol=0.06)
    assert np.abs(decode(name, {int(number)})[int(number)] - picture).mean() < 6


def test_rush_has_more_than_thirty_distinct_vehicles_a_second_from_first_to_last() -> None:
    truth = load("rush")
    frames = make("rush").frames
    assert len({row["text"] for row in truth}) >= 30 * frames / FPS
    in_view = [row["last_frame"] - row["first_frame"] + 1 for row in truth]
    assert np.percentile(in_view, 5) >= 5
    starts = np.histogram([row["first_frame"] for row in truth], bins=9, range=(0, 270))[0]
    assert starts[1:].min() >= 30  # the first ones have yet to come in


def test_several_vehicles_are_in_the_picture_at_once() -> None:
    truth = load("demo")
    frames = range(390)
    at_once = [sum(r["first_frame"] <= f <= r["last_frame"] for r in truth) for f in frames]
    assert max(at_once) >= 3


def test_night_is_gray_and_dark_but_for_plates_and_lamps() -> None:
    row = load("night")[0]
    number, quad = next(iter(row["corners"].items()))
    picture = decode("night", {int(number)})[int(number)]
    assert np.ptp(picture, axis=2).max() <= 4
    assert np.median(picture) < 40
    (left, top), (right, bottom) = np.min(quad, axis=0), np.max(quad, axis=0)
    assert np.percentile(picture[int(top) : int(bottom), int(left) : int(right)], 80) > 90


def test_idle_has_no_plate_and_moments_in_which_only_noise_changes() -> None:
    assert load("idle") == []
    frames = decode("idle", {40, 80, 120, 135, 185, 270})
    assert np.abs(frames[40] - frames[80]).mean() < 2.5
    assert np.abs(frames[120] - frames[135]).max() > 40  # the tree's shadow
    assert np.abs(frames[80] - frames[270]).max() > 60  # leaves


def test_mobile_moves_and_shakes_the_whole_picture() -> None:
    frames = decode("mobile", {100, 101, 130})
    lower = slice(480, 720)
    assert np.abs(frames[100] - frames[101])[lower].mean() > 1.5
    assert np.abs(frames[100] - frames[130])[lower].mean() > 3


def test_a_sheet_shows_frames_of_the_clip_for_people(tmp_path: Path) -> None:
    write_sheet(DATA / "night.mp4", DATA / "night.truth.jsonl", tmp_path / "night.png")
    assert (tmp_path / "night.png").stat().st_size > 100_000


def test_the_command_writes_clip_and_truth_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    reel = make("night")
    short = Reel(shoot=lambda n: reel.shoot(n + 25), texts=reel.texts, frames=6, crf=30)
    monkeypatch.setitem(CLIPS, "night", type(CLIPS["night"])(lambda _: short, 1))
    monkeypatch.setattr("sys.argv", ["clips", "night", str(tmp_path)])
    main()
    seen = [
        row["text"] for row in load("night") if row["first_frame"] <= 30 and row["last_frame"] >= 25
    ]
    assert f"night: {len(seen)} vehicles" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "night.truth.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == seen

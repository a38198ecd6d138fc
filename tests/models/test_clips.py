"""The rendered road clip and its truth agree with each other and with the code."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from models.synth import clips
from models.synth.roads import paint_road

DATA = Path(__file__).parents[1] / "data"
SEED, SECONDS, FPS = 7, 13.0, 30


@pytest.fixture(scope="module")
def truth() -> list[dict]:
    return [json.loads(line) for line in (DATA / "demo.truth.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def planned() -> tuple[np.ndarray, tuple[clips.Passage, ...]]:
    rng = np.random.default_rng(SEED)
    road = paint_road(rng, clips.CAMERA, lanes_m=clips.LANES_M, lane_width_m=clips.LANE_WIDTH_M)
    return road, clips.plan_passages(rng, seconds=SECONDS)


def test_no_two_vehicles_carry_the_same_plate(truth: list[dict]) -> None:
    texts = [row["text"] for row in truth]
    assert len(texts) >= 24
    assert len(set(texts)) == len(texts)


def test_every_vehicle_comes_near_enough_to_be_read(truth: list[dict]) -> None:
    for row in truth:
        quads = np.array(list(row["corners"].values()))
        assert np.linalg.norm(quads[:, 1] - quads[:, 0], axis=1).max() >= 55


def test_several_vehicles_are_in_the_picture_at_once(truth: list[dict]) -> None:
    frames = range(round(SECONDS * FPS))
    at_once = [sum(r["first_frame"] <= f <= r["last_frame"] for r in truth) for f in frames]
    assert max(at_once) >= 3


def test_corners_lie_in_the_picture_and_within_the_passage(truth: list[dict]) -> None:
    for row in truth:
        numbers = [int(number) for number in row["corners"]]
        assert row["first_frame"] <= min(numbers) <= max(numbers) <= row["last_frame"]
        quads = np.array(list(row["corners"].values()))
        assert (quads >= 0).all()
        assert (quads <= [1280, 720]).all()


def test_the_shipped_clip_is_a_small_h264_file_of_the_stated_size() -> None:
    path = DATA / "demo.mp4"
    assert path.stat().st_size <= 4_000_000
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height, stream.average_rate) == (1280, 720, FPS)
        assert stream.frames == round(SECONDS * FPS)


def test_the_code_still_plans_the_shipped_clip(
    truth: list[dict], planned: tuple[np.ndarray, tuple[clips.Passage, ...]]
) -> None:
    texts = [passage.vehicle.plate.text for passage in planned[1]]
    assert texts == [row["text"] for row in truth]


def test_a_rendered_frame_has_the_corners_of_the_truth(
    truth: list[dict], planned: tuple[np.ndarray, tuple[clips.Passage, ...]]
) -> None:
    road, passages = planned
    row = truth[0]
    number, quad = next(iter(row["corners"].items()))
    at_s = int(number) / FPS
    half = clips.EXPOSURE_S / 2
    quads = [clips._expose(passages, road, at_s + shift)[1][0] for shift in (-half, half)]
    np.testing.assert_allclose(np.mean(quads, axis=0), quad, atol=0.06)


def test_the_shipped_clip_shows_what_the_code_renders(
    planned: tuple[np.ndarray, tuple[clips.Passage, ...]],
) -> None:
    road, passages = planned
    frames = clips.render_frames(passages, road, seconds=2 / FPS, fps=FPS, seed=SEED)
    with av.open(str(DATA / "demo.mp4")) as container:
        for (rendered, _), shipped in zip(frames, container.decode(video=0), strict=False):
            gap = np.abs(shipped.to_ndarray(format="bgr24").astype(int) - rendered)
            assert gap.mean() < 6

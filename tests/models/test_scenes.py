"""Composed training scenes say the truth about the plates in them."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.synth import scenes
from models.synth.space import Camera, paste

CAMERA = Camera(
    x_m=0.0,
    height_m=3.0,
    yaw_rad=0.0,
    pitch_rad=0.0,
    roll_rad=0.0,
    focal_px=500.0,
    width_px=640,
    height_px=480,
)


def test_a_point_straight_ahead_falls_on_the_middle_of_the_picture() -> None:
    pixels = CAMERA.project(np.array([[0.0, 10.0, 3.0]]))
    np.testing.assert_allclose(pixels, [[320, 240]])


def test_a_point_to_the_right_and_below_falls_right_and_below_in_proportion() -> None:
    pixels = CAMERA.project(np.array([[1.0, 10.0, 1.0], [1.0, 20.0, 1.0]]))
    np.testing.assert_allclose(pixels, [[370, 340], [345, 290]])


@pytest.mark.parametrize(
    "camera",
    [
        dataclasses.replace(CAMERA, yaw_rad=np.arctan2(1, 10)),
        dataclasses.replace(CAMERA, pitch_rad=np.arctan2(2, np.hypot(1, 10)), x_m=1.0, yaw_rad=0.0),
    ],
    ids=["yaw looks to the right", "pitch looks down"],
)
def test_turning_the_camera_towards_a_point_brings_it_to_the_middle(camera: Camera) -> None:
    point = np.array([[1.0, 10.0, 3.0 - 10 * np.tan(camera.pitch_rad)]])
    np.testing.assert_allclose(camera.project(point), [[320, 240]], atol=1e-6)


def test_a_pasted_texture_covers_exactly_its_quad() -> None:
    picture = np.zeros((200, 300), np.uint8)
    quad = np.array([[60.3, 50.6], [201.2, 62.4], [195.7, 141.1], [55.5, 120.8]])
    paste(picture, np.full((90, 180), 255, np.uint8), quad)
    x, y = quad[:, 0], quad[:, 1]
    area = 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    assert picture.sum() / 255 == pytest.approx(area, rel=0.01)


def test_a_pasted_texture_lies_where_its_corners_say_to_a_tenth_of_a_pixel() -> None:
    picture = np.zeros((100, 100), np.uint8)
    square = np.array([[20.0, 30.0], [60.0, 30.0], [60.0, 50.0], [20.0, 50.0]])
    paste(picture, np.full((80, 160), 255, np.uint8), square)
    rows, columns = np.indices(picture.shape) + 0.5
    share = picture / picture.sum()
    assert (share * columns).sum() == pytest.approx(40, abs=0.1)
    assert (share * rows).sum() == pytest.approx(40, abs=0.1)


@pytest.fixture(scope="module")
def composed() -> list[scenes.Scene]:
    return [scenes.compose_scene(np.random.default_rng((3, n)), ()) for n in range(12)]


def test_the_same_seed_composes_the_same_scene(composed: list[scenes.Scene]) -> None:
    again = scenes.compose_scene(np.random.default_rng((3, 4)), ())
    np.testing.assert_array_equal(again.gray, composed[4].gray)
    np.testing.assert_array_equal(again.corners, composed[4].corners)


def test_scenes_have_plates_whose_corners_run_clockwise(composed: list[scenes.Scene]) -> None:
    quads = np.concatenate([scene.corners for scene in composed])
    x, y = quads[..., 0], quads[..., 1]
    areas = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    assert len(quads) >= len(composed) // 2
    assert (areas > 0).all()
    assert (x[:, 0] < x[:, 1]).all()


def test_every_labelled_plate_is_large_enough_and_mostly_inside(
    composed: list[scenes.Scene],
) -> None:
    for scene in composed:
        middles = scene.corners.mean(axis=1)
        assert (middles >= 0).all()
        assert (middles <= [scenes.WIDTH_PX, scenes.HEIGHT_PX]).all()
        assert (np.ptp(scene.corners[..., 0], axis=1) >= scenes.TINY_PX).all()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, tone in (("mine.png", 90), ("theirs.png", 200)):
        cv2.imwrite(str(folder / name), np.full((1440, 2560), tone, np.uint8))
    heads = "dataset,use,path,width,height,x1,y1,x2,y2,x3,y3,x4,y4\n"
    box = "2560,1440,200,300,400,300,400,350,200,350"
    rows = f"a,train,mine.png,{box}\nb,validate,theirs.png,{box}\n"
    (folder / "index.csv").write_text(heads + rows)
    (folder / "ignore.csv").write_text("path,x1,y1,x2,y2,score\nmine.png,10,20,30,40,0.5\n")
    return folder


def test_only_pictures_marked_for_training_become_backgrounds(pictures: Path) -> None:
    (backdrop,) = scenes.load_backdrops(pictures)
    assert backdrop.gray.mean() == 90


def test_boxes_shrink_with_their_picture(pictures: Path) -> None:
    (backdrop,) = scenes.load_backdrops(pictures)
    assert backdrop.gray.shape == (720, 1280)
    np.testing.assert_allclose(backdrop.plates, [[100, 150, 200, 175]])
    np.testing.assert_allclose(backdrop.ignored, [[5, 10, 15, 20]])


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    for processes in (1, 2):
        scenes.write_scenes(
            tmp_path / str(processes), count=4, seed=9, pictures=None, processes=processes
        )
    for name in ("images", "corners", "kinds", "ignored"):
        one, two = (np.load(tmp_path / str(n) / f"{name}.npy") for n in (1, 2))
        np.testing.assert_array_equal(one, two)

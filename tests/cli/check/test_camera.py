"""The questions about the picture, answered on pictures that are good, bad, or not there."""

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from agent.base.errors import ConfigError
from agent.base.health import CameraState
from agent.base.settings import (
    CameraSettings,
    ExposureSettings,
    LaneSettings,
    MaskSettings,
    Settings,
    SiteSettings,
)
from agent.cli.check.camera import (
    expect_width_px,
    judge_light,
    judge_move,
    judge_rate,
    look_at_camera,
)
from agent.cli.check.findings import Level
from agent.cli.check.look import Looks
from agent.cli.check.picture import Light
from agent.cli.check.subject import LogFacts, Subject
from agent.cli.machine import Machine
from tests.fakes import FakeClock
from tests.seeing import drive

LANE = LaneSettings(name="north", left=(0.1, 0.8), right=(0.6, 0.8))


def look(source, tmp_path, **settings):
    """Return the findings about a source by their codes."""
    unit = Subject(
        place=tmp_path / "unit.toml",
        settings=Settings(unit="unit-7", camera=CameraSettings(source=str(source)), **settings),
        decision=ConfigError("no policy"),
        logs=LogFacts(),
        machine=Machine(tmp_path),
        clock=FakeClock(),
    )
    found = {item.code: item for item in look_at_camera(unit)}
    assert list(found) == [f"HP-10{number}" for number in range(1, 9)]
    return found


def store(folder, pictures, change=lambda picture: picture):
    """Write pictures into a folder, which is a camera, and return it."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:03}.png"), change(picture))
    return folder


@pytest.fixture(scope="module")
def road():
    return drive(("7KXR482", 0, 60), ("3CEH915", 2, 380), frames=12)


def test_a_good_picture_of_traffic_passes_every_question(tmp_path, road):
    found = look(store(tmp_path / "road", road), tmp_path)
    assert {item.level for item in found.values()} == {Level.GOOD}
    assert "12 frames of 640x480" in found["HP-101"].found
    assert "30.0 frames a second" in found["HP-102"].found
    assert "on plates" in found["HP-105"].found


@pytest.mark.parametrize(
    ("change", "code", "level"),
    [
        pytest.param(lambda p: cv2.GaussianBlur(p, (0, 0), 5), "HP-105", Level.BAD, id="blurred"),
        pytest.param(
            lambda p: (p // 12 + 100).astype(np.uint8), "HP-104", Level.BAD, id="through-fog"
        ),
        pytest.param(
            lambda p: np.minimum(p.astype(int) * 2 + 90, 255).astype(np.uint8),
            "HP-103",
            Level.DOUBT,
            id="glare",
        ),
        pytest.param(lambda p: cv2.resize(p, (240, 180)), "HP-106", Level.DOUBT, id="far-away"),
    ],
)
def test_a_bad_picture_is_named_by_what_is_wrong_with_it(tmp_path, road, change, code, level):
    finding = look(store(tmp_path / "road", road, change), tmp_path)[code]
    assert finding.level is level
    assert finding.remedy


def test_a_plate_that_moves_too_far_in_the_exposure_is_blurred(tmp_path, road):
    source = store(tmp_path / "road", road)  # a quarter of a width a frame, 7 widths a second
    slow = look(source, tmp_path, exposure=ExposureSettings(longest_us=1_000))["HP-107"]
    fast = look(source, tmp_path, exposure=ExposureSettings(longest_us=20_000))["HP-107"]
    assert (slow.level, fast.level) == (Level.GOOD, Level.BAD)
    assert "as vehicles passed" in fast.found


def test_an_empty_road_is_judged_by_lanes_and_speed_as_far_as_it_goes(tmp_path):
    scene = np.full((720, 1280), 60, np.uint8)
    for x in range(100, 1280, 200):  # lines on a road
        cv2.line(scene, (x, 720), (640, 100), 200, 9, cv2.LINE_AA)
    found = look(store(tmp_path / "road", [scene] * 3), tmp_path, lanes=(LANE,))
    assert found["HP-104"].level is Level.UNKNOWN
    assert found["HP-105"].level is Level.GOOD
    assert "56 pixels expected from the width of lane 'north'" in found["HP-106"].found
    assert found["HP-107"].level is Level.UNKNOWN
    assert "at most 2.1 strokes" in found["HP-107"].found


def test_a_bound_that_is_low_enough_needs_no_traffic(tmp_path):
    plain = np.full((480, 640), 90, np.uint8)
    found = look(store(tmp_path / "road", [plain] * 2), tmp_path, site=SiteSettings(fastest_kmh=30))
    assert found["HP-107"].level is Level.GOOD
    assert found["HP-105"].level is Level.UNKNOWN
    assert found["HP-106"].level is Level.UNKNOWN


def test_the_width_of_a_plate_follows_from_that_of_its_lane():
    assert expect_width_px(LANE, (720, 1280)) == pytest.approx(640 * 0.305 / 3.5)


def test_a_mask_over_a_lane_is_told(tmp_path, road):
    left = (((0.0, 0.0), (0.2, 0.0), (0.2, 1.0), (0.0, 1.0)),)
    source = store(tmp_path / "road", road)
    finding = look(source, tmp_path, lanes=(LANE,), mask=MaskSettings(polygons=left))["HP-108"]
    assert finding.level is Level.DOUBT
    assert "north" in finding.found
    right = replace(LANE, left=(0.4, 0.8), right=(0.9, 0.8))
    finding = look(source, tmp_path, lanes=(right,), mask=MaskSettings(polygons=left))["HP-108"]
    assert (finding.level, finding.found) == (Level.GOOD, "hides 20% of the picture")


def test_a_mask_over_everything_leaves_nothing_to_judge(tmp_path, road):
    whole = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)
    found = look(store(tmp_path / "road", road), tmp_path, mask=MaskSettings(polygons=whole))
    assert found["HP-103"].level is Level.UNKNOWN
    assert found["HP-108"].level is Level.DOUBT


@pytest.mark.parametrize("source", ["missing.mp4", "empty.mp4", "folder"])
def test_without_a_picture_every_question_says_so(tmp_path, source):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    found = look(tmp_path / source, tmp_path)
    assert (found["HP-101"].level, found["HP-101"].exit_code) == (Level.BAD, 66)
    rest = [item for code, item in found.items() if code != "HP-101"]
    assert {item.level for item in rest} == {Level.UNKNOWN}
    assert all("HP-101" in item.found for item in rest)


def test_a_single_picture_has_no_rate(tmp_path, road):
    found = look(store(tmp_path / "road", road[:1]), tmp_path)
    assert found["HP-102"].level is Level.UNKNOWN


def test_a_camera_that_the_watcher_holds_is_explained(tmp_path):
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    (folder / "cmdline").write_text("/usr/bin/homeplate\0watch\0")
    found = look("rtsp://127.0.0.1:9/road", tmp_path)
    assert found["HP-101"].exit_code == 69
    assert "the watcher runs" in found["HP-101"].remedy


DIM = Light(middle=20.0, contrast=60.0, dark_share=0.1, bright_share=0.0)


def test_an_exposure_at_its_ceiling_in_the_dark_is_told():
    looks = Looks(frames=90, scenes=[DIM])
    calm = judge_light(looks, CameraState(exposure_us=800, gain=2.0))
    dark = judge_light(looks, CameraState(exposure_us=1000, gain=16.0, at_ceiling=True))
    assert (calm.level, dark.level) == (Level.GOOD, Level.DOUBT)
    assert "1000 µs at gain 16.0, as much as [exposure] allows, and too dark" in dark.found


def test_a_camera_that_stalled_while_it_was_looked_at_is_told():
    looks = Looks(frames=90, first_ns=0, last_ns=3 * 10**9)
    assert judge_rate(looks, CameraState()).level is Level.GOOD
    stalled = judge_rate(looks, CameraState(stalls=1))
    assert stalled.level is Level.DOUBT
    assert "1 times none came" in stalled.found


def test_blur_is_worked_out_from_the_exposure_that_the_sensor_tells():
    looks = Looks(frames=90, moves=[20.0])
    unit = Settings(unit="unit-7", camera=CameraSettings(source="picamera2:0"))
    assert judge_move(looks, unit, 4000).level is Level.BAD
    short = judge_move(looks, unit, 250)
    assert short.level is Level.GOOD
    assert "in 250 µs" in short.found

"""The camera on the unit: what it asks for, what it counts, and how it comes back."""

import logging
from functools import partial
from itertools import islice

import numpy as np
import pytest

from agent.base.errors import ConfigError, DeviceError
from agent.base.health import CameraState
from agent.base.settings import (
    CameraSettings,
    DetectSettings,
    ExposureSettings,
    ModelSettings,
    parse_settings,
)
from agent.camera.patient import PatientCamera
from agent.camera.pi import HEALTHY_FRAMES, PiCamera, Surroundings
from agent.camera.pi_plan import choose_lores
from agent.camera.sensor_clock import SensorClock, count_missing
from agent.camera.sources import open_camera
from agent.cli.models import open_models
from agent.vision.image import shrink_plane
from tests.camera.fake_picamera2 import INTERVAL_NS, LATENCY_NS, FakePicamera2Library, with_traits
from tests.fakes import NOON, POISON, FakeClock
from tests.seeing import drive, watch

FRAME_S = INTERVAL_NS / 1e9


class Unit:
    """A simulated unit with its camera."""

    def __init__(self, *, traits=None, scene=None, exposure=None, **settings):
        self.clock, self.state = FakeClock(), CameraState()
        more = {} if scene is None else {"scene": scene}
        self.library = FakePicamera2Library(self.clock, traits=traits, **more)
        self.settings = CameraSettings(source="picamera2:0", **{"size_px": (1280, 720)} | settings)
        self.camera = PiCamera(
            0,
            self.library,
            camera=self.settings,
            exposure=exposure or ExposureSettings(),
            around=Surroundings(
                clock=self.clock,
                clocks=self.library.clocks,
                make_lores=partial(shrink_plane, width_px=640),
                state=self.state,
                step_timeout_s=60,
            ),
        )

    @property
    def device(self):
        return self.library.devices[-1]

    def watch(self, count, *, work_s=0.0):
        """Look at some frames, each for a while; return their numbers of the sensor's interval."""
        seen = []
        for frame in self.camera.frames():
            seen.append(frame.sensor_ns)
            self.clock.advance(work_s)
            del frame
            if len(seen) == count:
                return seen
        raise AssertionError


@pytest.fixture
def unit():
    return Unit()


def test_the_padding_of_rows_is_no_part_of_the_picture():
    unit = Unit(size_px=(1296, 972), traits=with_traits(align_px=2, stride_px=256))
    with unit.camera as camera:
        frame = next(camera.frames())
        assert frame.y.shape == (972, 1296)
        assert frame.y.strides == (1536, 1)
        assert (frame.y == frame.y[0, 0]).all()
        assert frame.lores.shape == (480, 640)
        del frame


def test_sizes_are_those_that_libcamera_made_of_them():
    unit = Unit(size_px=(1456, 1088), traits=with_traits(align_px=64))
    with unit.camera as camera:
        frame = next(camera.frames())
        assert frame.y.shape == (1088, 1408)
        del frame


def test_a_camera_with_one_stream_has_its_low_resolution_picture_made():
    unit = Unit(traits=with_traits(streams=1, pixel_format="NV12", modes=()))
    with unit.camera as camera:
        frame = next(camera.frames())
        assert frame.lores.shape == (360, 640)
        assert frame.lores[0, 0] == frame.y[0, 0]
        del frame


@pytest.mark.parametrize(
    ("wish", "mode"),
    [
        ({"size_px": (1280, 720)}, (1536, 864)),
        ({"size_px": (1920, 1080)}, (2304, 1296)),
        ({"size_px": (1280, 720), "sensor_size_px": (2304, 1296)}, (2304, 1296)),
        ({"size_px": (4608, 2592), "frames_per_s": 10.0}, (4608, 2592)),
        ({"size_px": (640, 480), "sensor_size_px": (1640, 1232), "sensor_bits": 8}, (1640, 1232)),
    ],
    ids=["smallest", "large enough", "named", "slow", "named in full"],
)
def test_the_sensor_s_mode_is_pinned(wish, mode):
    unit = Unit(**wish)
    with unit.camera:
        assert unit.device.camera_configuration()["sensor"]["output_size"] == mode


@pytest.mark.parametrize(
    "wish", [{"size_px": (4608, 2592)}, {"sensor_size_px": (64, 64)}, {"sensor_bits": 12}], ids=str
)
def test_a_mode_that_the_sensor_has_not_is_the_operator_s_to_mend(wish):
    unit = Unit(**wish)
    with pytest.raises(ConfigError, match="expected one of 1536x864 10 bits, 2304x1296"):
        unit.camera.__enter__()
    assert not unit.library.in_use


def test_another_mode_than_the_pinned_one_is_an_error():
    unit = Unit(traits=with_traits(pins_mode=False))
    with pytest.raises(DeviceError, match="the sensor runs at 640x480; expected 1536x864"):
        unit.camera.__enter__()


def test_a_format_without_a_plane_of_luminance_is_an_error():
    unit = Unit(traits=with_traits(pixel_format="YUYV"))
    with pytest.raises(DeviceError, match=r"1280x720 YUYV .* expected YUV420 or NV12"):
        unit.camera.__enter__()
    assert not unit.library.in_use


@pytest.mark.parametrize("kind", [RuntimeError, IndexError])
def test_a_camera_that_is_not_there_is_named(kind):
    unit = Unit(traits=with_traits(cameras=0, raises=kind))
    with pytest.raises(DeviceError, match=r"picamera2:0: open failed .*No camera number 0"):
        unit.camera.__enter__()


def test_a_camera_that_another_process_uses_is_named(unit):
    unit.library.in_use.add(0)
    with pytest.raises(DeviceError, match=r"resource busy.*no other process uses"):
        unit.camera.__enter__()


def test_frames_are_dated_by_the_sensor_in_utc(unit):
    start_ns = unit.clock.monotonic_ns()
    with unit.camera as camera:
        for frame, _ in zip(camera.frames(), range(5), strict=False):
            unit.clock.advance(0.010)
            at_s = (frame.captured_at - NOON).total_seconds()
            assert at_s == pytest.approx((frame.sensor_ns - start_ns) / 1e9, abs=1e-5)
            del frame


def test_a_clock_that_is_set_is_followed_within_a_second(unit):
    later = NOON.replace(hour=18)
    with unit.camera as camera:
        frames = camera.frames()
        next(frames)
        unit.clock.set_wall(later)
        dates = [next(frames).captured_at for _ in range(60)]
    assert dates[0].hour == 12
    assert all(date.hour in {17, 18} for date in dates[31:])


@pytest.mark.parametrize("offset_s", [-3600, 7200])
def test_the_time_of_another_clock_is_not_believed(offset_s):
    clock = FakeClock()
    sensor = SensorClock(lambda: (clock.monotonic_ns(), clock.now()))
    assert sensor.date(clock.monotonic_ns() + offset_s * 10**9) == clock.now()


def test_frames_that_got_lost_are_counted(unit):
    with unit.camera:
        unit.watch(3)
        unit.library.skip = 4
        unit.watch(3)
        assert unit.state.dropped_frames == 4
        unit.watch(30)
    assert unit.state.dropped_frames == 4


def test_frames_that_nobody_had_time_for_are_counted(unit):
    with unit.camera:
        times = unit.watch(20, work_s=2.5 * FRAME_S)
    taken = round((times[-1] - times[0]) / INTERVAL_NS) + 1
    assert unit.state.dropped_frames == taken - 20
    assert unit.state.dropped_frames >= 20


@pytest.mark.parametrize(
    ("gap", "missing"), [(0.4, 0), (1.0, 0), (1.4, 0), (1.6, 1), (2.0, 1), (5.2, 4)], ids=str
)
def test_missing_frames_by_the_gap(gap, missing):
    gap_ns = round(gap * INTERVAL_NS)
    assert count_missing(10**9, 10**9 + gap_ns, interval_ns=INTERVAL_NS) == missing


def test_a_late_watcher_gets_the_newest_frame_at_once(unit):
    with unit.camera:
        unit.watch(2)
        unit.clock.advance(1.0)
        before_ns = unit.clock.monotonic_ns()
        times = unit.watch(1)
    assert unit.clock.monotonic_ns() == before_ns
    assert before_ns - times[0] < 1.1 * INTERVAL_NS + LATENCY_NS


def test_at_most_three_buffers_are_held(unit):
    with unit.camera:
        for index, frame in enumerate(unit.camera.frames()):
            assert len(unit.camera._leases._held) <= 2
            assert frame.y[0, 0] != POISON
            if index == 30:
                break
        del frame


def test_a_frame_holds_until_the_next_one_is_there_and_then_its_buffer_is_used_again(unit):
    with unit.camera as camera:
        frames = camera.frames()
        first = next(frames)
        level = int(first.y[0, 0])
        second = next(frames)
        assert first.y[0, 0] == level
        assert second.y[0, 0] != level
        del first
        third = next(frames)
        assert len(camera._leases._held) == 2
        del second, third


def test_a_frame_that_an_error_keeps_in_a_cycle_is_no_leak(unit):
    def fail(frame):
        try:
            int("a stage fails")
        except ValueError as error:
            trace = error.__traceback__  # a cycle: the trace's own frame holds it
            return trace is not None and frame is not None

    with unit.camera as camera:
        frames = camera.frames()
        for _ in range(10):
            fail(next(frames))


def test_exposure_and_gain_are_told_to_the_sensor_and_never_exceed_the_ceiling():
    dark = Unit(scene=lambda _number, product: min(16 + round(product / 400), 255))
    with dark.camera:
        dark.watch(300)
    told = dark.device.told
    assert told
    assert all(item["ExposureTime"] <= 1000 for item in told)
    assert dark.state.exposure_us <= 1000
    assert dark.state.gain == 16.0
    assert dark.state.at_ceiling


def test_controls_that_take_effect_late_are_not_told_again_and_again():
    def scene(_number, product):
        return round(16 + 219 * min(product * 0.18 / 500, 1) ** (1 / 2.2))

    unit = Unit(scene=scene)
    with unit.camera:
        unit.watch(400)
    assert len(unit.device.told) < 8
    assert unit.state.exposure_us == pytest.approx(500, rel=0.35)
    assert not unit.state.at_ceiling


def test_a_camera_without_such_controls_exposes_by_itself():
    controls = {"FrameDurationLimits": (33_333, 33_333, 33_333)}
    unit = Unit(traits=with_traits(controls=controls), focus_m=10.0)
    with unit.camera:
        unit.watch(20)
    assert not unit.device.told
    assert unit.state.exposure_us == 0


def test_a_lens_that_can_be_moved_stays_where_it_is_set():
    unit = Unit(focus_m=12.5)
    with unit.camera:
        assert unit.device.controls["AfMode"] == 0
        assert unit.device.controls["LensPosition"] == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("heals", "stalls", "restarts", "reopens"),
    [("wait", 1, 0, 0), ("stop", 2, 1, 0), ("close", 3, 1, 1)],
)
def test_the_ladder_goes_as_far_as_it_must(heals, stalls, restarts, reopens):
    unit = Unit(traits=with_traits(heals=heals))
    with unit.camera:
        before = unit.watch(3)
        unit.library.stalled = True
        after = unit.watch(3)
    state = unit.state
    assert after[0] > before[-1]
    assert (state.stalls, state.restarts, state.reopens) == (stalls, restarts, reopens)
    assert state.dropped_frames > 30


def test_a_camera_that_does_not_come_back_is_an_error_so_that_systemd_starts_anew(caplog):
    unit = Unit(traits=with_traits(heals="never"))
    with unit.camera:
        unit.watch(3)
        unit.library.stalled = True
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(DeviceError, match=r"no frame for 2 s.*one every 33 ms.*cable"),
        ):
            unit.watch(1)
    assert [record.reason for record in caplog.records] == ["flush", "restart", "reopen"]
    assert not unit.library.in_use


def test_an_old_failure_counts_no_more_after_enough_frames():
    unit = Unit(traits=with_traits(heals="wait"))
    with unit.camera:
        for _ in range(6):
            unit.library.stalled = True
            unit.watch(HEALTHY_FRAMES + 1)
    assert unit.state.stalls == 6


def test_a_camera_that_stalls_again_and_again_is_given_up():
    unit = Unit(traits=with_traits(heals="wait"))
    with unit.camera:
        for _ in range(3):
            unit.library.stalled = True
            unit.watch(5)
        unit.library.stalled = True
        with pytest.raises(DeviceError, match="also after opening it again"):
            unit.watch(1)


def test_a_frame_that_is_still_in_use_is_not_pulled_away_by_opening_anew():
    unit = Unit(traits=with_traits(heals="close"))
    with unit.camera as camera:
        frames = camera.frames()
        kept = next(frames)
        unit.library.stalled = True
        with pytest.raises(DeviceError, match="still in use"):
            next(frames)
        assert kept.y.size
        del kept


def test_the_camera_works_behind_mask_and_patience_as_the_settings_say():
    content = b'unit = "unit-7"\n[camera]\nsource = "picamera2:0"\nsize_px = [1280, 720]\n'
    content += b"[mask]\npolygons = [[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]\n"
    settings, clock, state = parse_settings(content, place="t"), FakeClock(), CameraState()
    library = FakePicamera2Library(clock)
    camera = open_camera(settings, clock=clock, state=state, load=lambda: library)
    levels = []
    with PatientCamera(camera, wait_s=60) as patient:
        for frame in patient.frames():
            assert frame.hidden is not None
            assert frame.hidden[0, 0]
            assert frame.lores[0, 0] != frame.lores[0, -1]
            levels.append(int(frame.y[0, -1]))
            del frame
            if len(levels) == 12:
                break
    assert POISON not in levels
    assert state.exposure_us > 0
    assert np.unique(levels).size == 12


def test_picamera2_is_loaded_only_where_the_settings_name_it():
    def load():
        raise AssertionError("loaded")

    content = b'unit = "unit-7"\n[camera]\nsource = "tests/data/demo.mp4"\n'
    with open_camera(parse_settings(content, place="t"), clock=FakeClock(), load=load) as camera:
        assert next(camera.frames()).index == 0


def test_a_unit_without_picamera2_is_told_what_to_install():
    content = b'unit = "unit-7"\n[camera]\nsource = "picamera2:0"\n'
    with pytest.raises(DeviceError, match="apt install python3-picamera2"):
        open_camera(parse_settings(content, place="t"), clock=FakeClock())


def test_a_device_of_the_kernel_that_is_not_there_is_an_error_of_the_unit():
    content = b'unit = "unit-7"\n[camera]\nsource = "/dev/video63"\n'
    with pytest.raises(DeviceError, match="/dev/video63: no answer"):
        open_camera(parse_settings(content, place="t"), clock=FakeClock())


@pytest.mark.parametrize(
    ("size", "lores"), [((1920, 1080), (640, 360)), ((640, 480), (640, 480)), ((64, 64), (64, 64))]
)
def test_the_detector_sees_the_same_view(size, lores):
    assert choose_lores(CameraSettings(source="picamera2:0", size_px=size)) == lores


class Shift:
    """A camera's frames up to a number, as when the watcher is stopped."""

    def __init__(self, camera, count):
        self.camera, self.count = camera, count

    def frames(self):
        return islice(self.camera.frames(), self.count)

    def __enter__(self):
        self.camera.__enter__()
        return self

    def __exit__(self, *error):
        self.camera.__exit__(*error)


def test_vehicles_before_a_camera_on_the_unit_become_reads():
    pictures = drive(("7KXR482", 0, 60), ("3CEH915", 4, 380), frames=30)

    def scene(number, _product):
        return pictures[min(number, len(pictures)) - 1]

    unit = Unit(scene=scene, size_px=(640, 480), exposure=ExposureSettings(mode="night"))
    models = open_models(ModelSettings(), DetectSettings())
    reads = watch(Shift(unit.camera, len(pictures)), models)
    assert sorted(read.text.characters for read in reads) == ["3CEH915", "7KXR482"]
    assert not any(read.abstained for read in reads)
    assert unit.state.dropped_frames == 0

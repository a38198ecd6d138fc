"""What picamera2 does, asked of the simulator and of the real one.

`deploy/dev camera` asks the real one, on libcamera's virtual camera in a Debian 13 root; there
HOMEPLATE_PICAMERA2 is `real`. Elsewhere the simulator answers.
"""

import gc
import os
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest

from agent.base.clock import SystemClock, read_sensor_clocks
from agent.base.errors import DeviceError
from agent.base.health import CameraState
from agent.base.settings import CameraSettings, ExposureSettings
from agent.camera.lease import HELD_FRAMES, lend_plane
from agent.camera.pi import PiCamera, Surroundings
from agent.vision.image import shrink_plane
from tests.camera.fake_picamera2 import FakePicamera2Library, Traits
from tests.fakes import FakeClock

IS_REAL = os.environ.get("HOMEPLATE_PICAMERA2") == "real"
MAIN, LORES = (1920, 1080), (640, 360)
SETTINGS = CameraSettings(source="picamera2:0", size_px=MAIN)
VIRTUAL = Traits(controls={"FrameDurationLimits": (33_333, 33_333, 33_333)}, modes=(), align_px=2)
"""What libcamera's virtual camera has."""
LEFT_BEHIND = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:setDaemon"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    *([LEFT_BEHIND] if IS_REAL else []),  # a camera that cannot be opened leaves its pipe open
]


class Bench:
    """picamera2, real or simulated, and its time."""

    def __init__(self):
        if IS_REAL:
            from tests.camera.real_picamera2 import LIBRARY  # noqa: PLC0415  needs libcamera

            self.library, self.clock = LIBRARY, SystemClock()
            self.clocks = partial(read_sensor_clocks, self.clock)
        else:
            self.clock = FakeClock()
            self.library = FakePicamera2Library(self.clock, traits=VIRTUAL)
            self.clocks = self.library.clocks
        self.opened = []

    def open(self):
        device = self.library.Picamera2(0)
        self.opened.append(device)
        return device

    def configure(self, device, *, buffers=4, queue=False):
        plan = device.create_video_configuration(
            main={"size": MAIN, "format": "YUV420"},
            lores={"size": LORES, "format": "YUV420"},
            raw=None, buffer_count=buffers, queue=queue, display=None, encode=None,
        )  # fmt: skip
        device.align_configuration(plan)
        device.configure(plan)
        return device

    def start(self, **options):
        device = self.configure(self.open(), **options)
        device.start()
        return device

    def map(self, request, stream="main"):
        return self.library.MappedArray(request, stream, write=False)

    def source(self, **options):
        return PiCamera(
            0,
            self.library,
            camera=SETTINGS,
            exposure=ExposureSettings(),
            around=Surroundings(
                clock=self.clock,
                clocks=self.clocks,
                make_lores=partial(shrink_plane, width_px=640),
                state=CameraState(),
                **{"timeout_s": 1.0, "step_timeout_s": 3.0} | options,
            ),
        )


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    for device in bench.opened:
        device.cancel_all_and_flush()
        device.close()
    gc.collect()


def collect_until_starved(device, limit=20):
    held = []
    with suppress(TimeoutError):
        while len(held) < limit:
            held.append(device.capture_request(wait=1.0))
    assert len(held) < limit
    return held


def test_frames_come_in_the_order_of_the_sensor_s_time(bench):
    device = bench.start()
    times = []
    for _ in range(10):
        request = device.capture_request(wait=5.0)
        times.append(request.get_metadata()["SensorTimestamp"])
        request.release()
    assert times == sorted(set(times))
    assert 0 <= bench.clocks()[0] - times[-1] < 1e9


def test_what_libcamera_made_of_the_sizes_is_read_back_and_is_how_buffers_look(bench):
    device = bench.start()
    found = device.camera_configuration()
    request = device.capture_request(wait=5.0)
    for name, size in (("main", MAIN), ("lores", LORES)):
        part = found[name]
        assert part["size"] == size
        assert part["stride"] >= size[0]
        assert part["framesize"] == part["stride"] * size[1] * 3 // 2
        assert part["format"] in {"YUV420", "NV12"}
        with bench.map(request, name) as mapped:
            assert mapped.array.shape[0] == size[1] * 3 // 2
            assert mapped.array.strides[0] == part["stride"]
    request.release()


def test_there_are_as_many_buffers_as_asked_for_and_no_more(bench):
    device = bench.start()
    held = collect_until_starved(device)
    assert len(held) == 4
    for request in held:
        request.release()
    device.cancel_all_and_flush()
    device.capture_request(wait=5.0).release()


def test_a_wait_that_timed_out_swallows_a_frame_unless_it_is_flushed(bench):
    device = bench.start()
    device.stop()
    with pytest.raises(TimeoutError):
        device.capture_request(wait=0.2)
    device.start()
    held = collect_until_starved(device)
    assert len(held) == 3
    device.cancel_all_and_flush()
    for request in held:
        request.release()


def test_those_who_wait_are_told_that_they_were_cancelled(bench):
    device = bench.start()
    device.stop()
    job = device.capture_request(wait=False)
    device.cancel_all_and_flush()
    with pytest.raises(CancelledError):
        job.get_result(timeout=1.0)


def test_a_request_is_released_once_and_is_of_no_use_afterwards(bench):
    device = bench.start()
    request = device.capture_request(wait=5.0)
    request.release()
    with pytest.raises(AssertionError):
        request.get_metadata()
    with pytest.raises(KeyError):
        bench.map(request)
    with pytest.raises(RuntimeError, match="negative ref_count"):
        request.release()


def test_a_held_request_outlives_the_stop_and_is_not_given_to_the_sensor_again(bench):
    device = bench.start()
    request = device.capture_request(wait=5.0)
    before = request.get_metadata()
    device.stop()
    assert request.get_metadata() == before
    request.release()
    device.start()
    held = collect_until_starved(device)
    assert len(held) == 4
    device.cancel_all_and_flush()
    for one in held:
        one.release()


def test_a_kept_frame_may_be_older_than_the_call(bench):
    device = bench.start(queue=True)
    device.capture_request(wait=5.0).release()
    if IS_REAL:
        time.sleep(0.3)
    else:
        bench.clock.advance(0.3)
    asked_ns = bench.clocks()[0]
    request = device.capture_request(wait=5.0)
    assert request.get_metadata()["SensorTimestamp"] < asked_ns
    request.release()


def test_unknown_controls_are_refused(bench):
    device = bench.start()
    with pytest.raises(RuntimeError, match="is not advertised by libcamera"):
        device.set_controls({"ExposureTime": 1000})


def test_a_running_camera_is_not_configured(bench):
    device = bench.start()
    with pytest.raises(RuntimeError, match="must be stopped before configuring"):
        bench.configure(device)


@LEFT_BEHIND
def test_a_view_that_is_left_keeps_the_buffers_from_being_made_anew(bench):
    device = bench.start()
    request = device.capture_request(wait=5.0)
    with bench.map(request) as mapped:
        view = mapped.array[:8, :8]
    request.release()
    device.stop()
    with pytest.raises(BufferError, match="cannot close exported pointers exist"):
        bench.configure(device)
    del view, mapped, request


@LEFT_BEHIND
def test_closing_under_a_view_leaves_the_view_readable(bench):
    device = bench.start()
    request = device.capture_request(wait=5.0)
    with bench.map(request) as mapped:
        view = mapped.array[:8, :8]
    request.release()
    seen = view.copy()
    device.close()
    gc.collect()
    assert (view == seen).all()


def test_closing_twice_is_closing_once(bench):
    device = bench.start()
    device.close()
    device.close()
    bench.start().capture_request(wait=5.0).release()


def test_a_camera_that_is_not_there_is_an_error(bench):
    with pytest.raises((RuntimeError, IndexError)):
        bench.library.Picamera2(7)


def test_a_camera_has_one_user(bench):
    bench.start()
    with pytest.raises(RuntimeError, match="did not complete") as caught:
        bench.open()
    assert "acquire" in str(caught.value.__cause__)


def test_an_error_in_a_callback_ends_the_thread_and_stop_hangs(bench):
    device = bench.library.Picamera2(0)  # nobody can close it any more
    bench.configure(device)

    def fail(_request):
        raise ValueError("a callback's own fault")

    device.pre_callback = fail
    device.start()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            device.capture_request(wait=0.5)
    thread = threading.Thread(target=device.stop, daemon=True)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    if IS_REAL:  # so that the tests after this one find the camera free
        device.cancel_all_and_flush()
        device._preview, device._event_loop_running = None, False
        device.close()


def test_the_source_gives_both_planes_as_views_with_the_time_of_the_sensor(bench):
    camera = bench.source()
    seen = []
    began = datetime.now(UTC) if IS_REAL else bench.clock.now()
    with camera:
        for frame in camera.frames():
            assert frame.y.shape == MAIN[::-1]
            assert frame.lores.shape == LORES[::-1]
            assert not frame.y.flags.writeable
            assert not frame.y.flags.owndata
            seen.append((frame.index, frame.sensor_ns, frame.captured_at, int(frame.y[5, 5])))
            del frame
            if len(seen) == 20:
                break
    indexes, sensor_ns, captured, levels = zip(*seen, strict=True)
    assert indexes == tuple(range(20))
    assert list(sensor_ns) == sorted(set(sensor_ns))
    for one, at in zip(sensor_ns, captured, strict=True):
        assert abs((at - captured[0]).total_seconds() - (one - sensor_ns[0]) / 1e9) < 0.05
    assert abs((captured[0] - began).total_seconds()) < 30
    assert all(level > 0 for level in levels)


def test_a_plane_that_is_kept_too_long_is_an_error_and_never_another_picture(bench):
    camera = bench.source()
    with camera:
        frames = camera.frames()
        kept = next(frames).y[:4, :4]
        before = kept.copy()
        for _ in range(HELD_FRAMES):
            next(frames)
        with pytest.raises(BufferError, match="still looked at"):
            next(frames)
        assert (kept == before).all()
        del kept
        frames.close()


def test_a_sensor_that_stopped_is_started_again(bench):
    camera = bench.source()
    with camera:
        frames = camera.frames()
        first = next(frames).sensor_ns
        camera._device.stop()
        assert next(frames).sensor_ns > first
        assert camera._state.stalls == 2
        assert camera._state.restarts == 1
        frames.close()


@pytest.mark.parametrize("rounds", [3])
def test_a_source_can_be_opened_and_closed_again_and_again(bench, rounds):
    for _ in range(rounds):
        with bench.source() as camera:
            frames = camera.frames()
            assert next(frames).index == 0
            frames.close()


def test_a_dead_thread_of_picamera2_does_not_hang_the_source(bench):
    camera = bench.source(timeout_s=0.3, step_timeout_s=0.5)
    camera.__enter__()
    device = camera._device

    def fail(_request):
        raise ValueError("a callback's own fault")

    device.pre_callback = fail
    with pytest.raises(DeviceError, match="restart hangs"):
        next(camera.frames())
    if IS_REAL:
        device.cancel_all_and_flush()
        device._preview, device._event_loop_running = None, False
        device.close()


def test_a_view_of_a_view_keeps_the_plane_alive():
    plane = lend_plane(np.zeros((12, 16), np.uint8), width_px=10, height_px=8)
    inner = plane[2:4][:, 1:3]
    assert inner.base is plane
    assert plane.strides == (16, 1)

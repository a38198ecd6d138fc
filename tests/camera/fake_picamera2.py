"""A simulator of picamera2: everything that its users stumble over, without hardware or threads.

Time is the clock's: frames happen when somebody waits for one or lets time pass. What it imitates
was seen with picamera2 0.3.38 on libcamera 0.4.0, and `test_picamera2_contract.py` asks the same
questions of both.
"""

import mmap
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import cv2
import numpy as np

from tests.fakes import POISON, FakeClock

INTERVAL_NS = 33_333_000
CONTROL_DELAY_FRAMES = 3
"""From a request that is queued to the first frame that shows its controls, beyond the queue."""
LATENCY_NS = 15_000_000
"""From the middle of a frame to its arrival."""
MODES = (
    {"size": (1536, 864), "bit_depth": 10, "fps": 120.13},
    {"size": (2304, 1296), "bit_depth": 10, "fps": 56.03},
    {"size": (4608, 2592), "bit_depth": 10, "fps": 14.35},
)
"""Of the Camera Module 3."""
CONTROLS = {
    "ExposureTime": (9, 66_666, 20_000),
    "AnalogueGain": (1.0, 16.0, 1.0),
    "FrameDurationLimits": (8_333, 1_000_000, 33_333),
    "AfMode": (0, 2, 0),
    "LensPosition": (0.0, 32.0, 1.0),
}

Scene = Callable[[int, float], int | np.ndarray]
"""Gives a picture, or one level for all of it, from the frame's number and exposure x gain."""


def plain_scene(number: int, _product: float) -> int:
    """Show a level that tells the frames apart."""
    return 20 + number % 200


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What differs from one camera, or one release, to the next."""

    cameras: int = 1
    controls: dict = field(default_factory=lambda: dict(CONTROLS))
    modes: tuple = MODES
    streams: int = 2
    pixel_format: str = "YUV420"
    align_px: int = 64
    """libcamera makes pictures no finer than this wide."""
    stride_px: int = 128
    """Rows are whole multiples of this in memory."""
    raises: type[Exception] = RuntimeError
    """For a camera that is not there; IndexError before 0.3.37."""
    pins_mode: bool = True
    heals: str = "stop"
    """What ends a stall: "wait", "stop", "close" or "never"."""


class FakePicamera2Library:
    """The package picamera2 with its cameras."""

    def __init__(
        self, clock: FakeClock, *, traits: Traits | None = None, scene: Scene = plain_scene
    ):
        self.clock, self.traits, self.scene = clock, traits or Traits(), scene
        self.in_use: set[int] = set()
        self.stalled = False
        self.skip = 0
        """Frames that the sensor takes and that get lost on their way."""
        self.opened = 0
        self.devices: list[FakePicamera2] = []

    def clocks(self):
        """Tell the sensor's clock and the wall clock."""
        return self.clock.monotonic_ns(), self.clock.now()

    def Picamera2(self, number=0):  # noqa: N802
        device = FakePicamera2(self, number)
        self.devices.append(device)
        self.opened += 1
        return device

    def MappedArray(self, request, stream, *, write=True):  # noqa: N802
        return FakeMappedArray(request, stream)

    def heal(self, by: str) -> None:
        order = ("wait", "stop", "close", "never")
        if order.index(by) >= order.index(self.traits.heals):
            self.stalled = False


class Allocator:
    """Buffers in real mappings, so that a view that is left over raises as in picamera2."""

    def __init__(self):
        self.mapped: list[mmap.mmap] = []

    def allocate(self, streams, count):
        self.close()
        buffers = [
            {name: mmap.mmap(-1, part["framesize"]) for name, part in streams.items()}
            for _ in range(count)
        ]
        self.mapped = [mapping for buffer in buffers for mapping in buffer.values()]
        return buffers

    def close(self):
        for mapping in self.mapped:
            mapping.close()
        self.mapped = []

    def __del__(self):
        self.close()


class Job:
    """Something that waits for a frame."""

    def __init__(self, work, device):
        self.work, self.device, self.future = work, device, Future()
        self.future.set_running_or_notify_cancel()

    def get_result(self, timeout=None):
        return self.device.wait_for(self, timeout)


class FakeRequest:
    """picamera2's `CompletedRequest`."""

    def __init__(self, device, buffers, metadata):
        self.picam2, self.ref_count, self.stop_count = device, 1, device.stop_count
        self.request: SimpleNamespace | None = SimpleNamespace(buffers=buffers, metadata=metadata)
        self.config = {name: dict(device.config[name]) for name in buffers}

    def acquire(self):
        if self.ref_count == 0:
            raise RuntimeError("CompletedRequest: acquiring lock with ref_count 0")
        self.ref_count += 1

    def release(self):
        self.ref_count -= 1
        if self.ref_count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self.ref_count:
            return
        device, buffers = self.picam2, self.request.buffers
        if device.started and self.stop_count == device.stop_count:
            for mapping in buffers.values():
                np.frombuffer(mapping, np.uint8)[:] = POISON
            device.queue_request(buffers)
        self.request, self.config = None, {}

    def get_metadata(self):
        assert self.request is not None
        return dict(self.request.metadata)


class FakeMappedArray:
    """picamera2's `MappedArray`."""

    def __init__(self, request, stream):
        self._part = request.config[stream]
        self._mapping = request.request.buffers[stream]

    def __enter__(self):
        (width, height), stride = self._part["size"], self._part["stride"]
        array = np.frombuffer(self._mapping, np.uint8).reshape(height * 3 // 2, stride)
        self.array = array[:, :width] if self._part["format"] == "NV12" else array
        return self

    def __exit__(self, *_):
        del self.array


class FakePicamera2:
    """picamera2's `Picamera2`."""

    def __init__(self, library, number):
        self.library, self.clock, self.traits = library, library.clock, library.traits
        self.is_open = False
        if number >= self.traits.cameras:
            raise self.traits.raises(f"No camera number {number} found")
        if number in library.in_use:
            cause = RuntimeError("Failed to acquire camera: Device or resource busy")
            raise RuntimeError("Camera __init__ sequence did not complete.") from cause
        library.in_use.add(number)
        self.number, self.is_open = number, True
        self.camera_controls = dict(self.traits.controls)
        self.pre_callback = None
        self.config, self.buffers = {}, []
        self.allocator = Allocator()
        self.started, self.loop_runs, self.is_dead = False, False, False
        self.stop_count = 0
        self.queued, self.completed, self.jobs = [], [], []
        self.controls, self.coming = {}, []
        self.told: list[dict] = []
        """All controls that were set while it ran, for tests."""
        self.number_of_frames = 0
        self._modes = None
        self._changes, self._next_ns = [], 0

    @property
    def sensor_modes(self):
        if self._modes is None:
            self._require_stopped()
            self.config = {}  # trying the modes out leaves another configuration behind
            self._modes = [dict(mode) for mode in self.traits.modes]
        return self._modes

    def create_video_configuration(self, **options):
        assert self.is_open
        lores = options.get("lores")
        return {
            **options,
            "main": {"preserve_ar": True, **options["main"]},
            "lores": None if lores is None else {"preserve_ar": False, **lores},
            "controls": dict(options.get("controls", {})),
            "sensor": {},
        }

    def align_configuration(self, configuration):
        for name in ("main", "lores"):
            if configuration.get(name):
                width, height = configuration[name]["size"]
                step = 2 * self.traits.align_px
                configuration[name]["size"] = (width - width % step, height - height % 2)

    def configure(self, configuration):
        self._require_stopped()
        main, lores = configuration["main"], configuration.get("lores")
        for part in filter(None, (main, lores)):
            if any(side % 2 for side in part["size"]):
                raise RuntimeError("width and height should be even")
        if lores and any(a > b for a, b in zip(lores["size"], main["size"], strict=True)):
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        for name in configuration["controls"]:
            self._require_control(name)
        self.config = {}
        parts = {"main": main, "lores": lores if self.traits.streams > 1 else None}
        streams = {name: self._adjust(part) for name, part in parts.items() if part}
        self.buffers = self.allocator.allocate(streams, configuration["buffer_count"])
        asked = configuration.get("sensor") or {}
        mode = asked if self.traits.pins_mode else {**asked, "output_size": (640, 480)}
        self.config = {**configuration, "lores": None, **streams, "sensor": mode}
        self.controls = self._clamp(configuration["controls"])

    def _adjust(self, part):
        width, height = part["size"]
        width -= width % self.traits.align_px
        stride = -(-width // self.traits.stride_px) * self.traits.stride_px
        shape = {"size": (width, height), "stride": stride, "framesize": stride * height * 3 // 2}
        return {**part, **shape, "format": self.traits.pixel_format}

    def camera_configuration(self):
        return self.config

    def start(self):
        if not self.config:
            raise RuntimeError("Camera has not been configured")
        if self.started:
            return
        self.loop_runs = not self.is_dead
        self.started, self.queued, self.coming = True, [], []
        for buffer in self.buffers:
            self.queue_request(buffer)
        self._next_ns = self.clock.monotonic_ns() + INTERVAL_NS

    def stop(self):
        if not self.started:
            return
        if self.is_dead:
            threading.Event().wait()
        self._run()
        self.stop_count += 1
        self.started, self.queued = False, []
        for request in self.completed:
            request.release()
        self.completed = []
        self.library.heal("stop")

    def close(self):
        if not self.is_open:
            return
        self.stop()
        self.is_open, self.loop_runs = False, False
        self.library.in_use.discard(self.number)
        self.config, self.buffers = {}, []
        del self.allocator
        self.library.heal("close")

    def set_controls(self, controls):
        for name in controls:
            self._require_control(name)
        self.told.append(dict(controls))
        self.coming.append(self._clamp(controls))

    def capture_request(self, wait=None):
        self._run()
        job = Job(self._pop, self)
        self.jobs.append(job)
        if self.completed and len(self.jobs) == 1 and self.loop_runs:
            self._work()
        return job if wait is False else job.get_result(timeout=wait)

    def cancel_all_and_flush(self):
        for job in self.jobs:
            job.future.set_exception(CancelledError())
        self.jobs = []

    def queue_request(self, buffers):
        """Give a buffer to the sensor, with the controls that were set since the last one."""
        due = self.number_of_frames + len(self.queued) + CONTROL_DELAY_FRAMES
        self.queued.append((buffers, [(due, controls) for controls in self.coming]))
        self.coming = []

    def wait_for(self, job, timeout_s):
        """Let time pass until a job is done."""
        assert timeout_s is not None, "this would wait for ever"
        until_ns = self.clock.monotonic_ns() + round(timeout_s * 1e9)
        self._run()
        while not job.future.done():
            now_ns = self.clock.monotonic_ns()
            if not self.started or not self.loop_runs or self._next_ns > until_ns:
                self.clock.advance((until_ns - now_ns) / 1e9)
                if self.library.traits.heals == "wait":
                    self.library.stalled = False
                raise TimeoutError
            self.clock.advance(max(self._next_ns - now_ns, 0) / 1e9)
            self._run()
        return job.future.result()

    def _pop(self):
        return self.completed.pop(0) if self.completed else None

    def _run(self):
        """Let happen what happened since somebody looked last."""
        while self.started and self._next_ns <= self.clock.monotonic_ns():
            at_ns, self._next_ns = self._next_ns, self._next_ns + INTERVAL_NS
            self._take_frame(at_ns)

    def _take_frame(self, at_ns):
        self.number_of_frames += 1
        if self.library.stalled or not self.queued:
            return
        if self.library.skip:
            self.library.skip -= 1
            return
        buffers, changes = self.queued.pop(0)
        self._changes += changes
        for due, controls in [item for item in self._changes if item[0] <= self.number_of_frames]:
            self.controls |= controls
            self._changes.remove((due, controls))
        request = FakeRequest(self, buffers, self._expose(buffers, at_ns))
        if self.loop_runs:
            self._process(request)

    def _expose(self, buffers, at_ns):
        time_us = self.controls.get("ExposureTime", 20_000)
        gain = self.controls.get("AnalogueGain", 1.0)
        for name, mapping in buffers.items():
            part = self.config[name]
            rows = np.frombuffer(mapping, np.uint8).reshape(-1, part["stride"])
            rows[:] = 128
            rows[: part["size"][1]] = 0  # what lies beyond the picture's width is not the picture
            shown = self.library.scene(self.number_of_frames, time_us * gain)
            if isinstance(shown, np.ndarray):
                shown = cv2.resize(shown, part["size"], interpolation=cv2.INTER_AREA)
            rows[: part["size"][1], : part["size"][0]] = shown
        jitter_ns = (self.number_of_frames * 7919) % 200_000
        metadata = {"SensorTimestamp": at_ns - LATENCY_NS + jitter_ns, "FrameDuration": 33_333}
        if "ExposureTime" in self.traits.controls:
            metadata |= {"ExposureTime": time_us - time_us % 9, "AnalogueGain": gain}
        return metadata

    def _process(self, request):
        self.completed.append(request)
        if self.pre_callback is not None:
            try:
                self.pre_callback(request)
            except Exception:  # noqa: BLE001  picamera2 logs it, and its thread is gone
                self.loop_runs, self.is_dead = False, True
                return
        self._work()
        kept = 1 if self.config["queue"] and self.config["buffer_count"] > 1 else 0
        while len(self.completed) > kept:
            self.completed.pop(0).release()

    def _work(self):
        while self.jobs:
            result = self.jobs[0].work()
            if result is None:
                return
            self.jobs.pop(0).future.set_result(result)

    def _require_stopped(self):
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")

    def _require_control(self, name):
        if name not in self.traits.controls:
            raise RuntimeError(f"Control {name} is not advertised by libcamera")

    def _clamp(self, controls):
        def clamp(name, value):
            low, high, _ = self.traits.controls[name]
            return value if isinstance(value, tuple) else min(max(value, low), high)

        return {name: clamp(name, value) for name, value in controls.items()}


def with_traits(traits: Traits | None = None, **changes) -> Traits:
    """Return traits that differ from the usual ones."""
    return replace(traits or Traits(), **changes)

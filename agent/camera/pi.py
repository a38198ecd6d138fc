"""A camera on the unit, through picamera2 and libcamera."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from agent.base.clock import Clock
from agent.base.errors import DeviceError
from agent.base.health import CameraState
from agent.base.records import Frame, Plane
from agent.base.settings import CameraSettings, ExposureSettings
from agent.camera.autoexposure import AutoExposure
from agent.camera.lease import Leases, Request
from agent.camera.pi_plan import STREAMS, plan_configuration, read_sizes
from agent.camera.picamera2_library import Configuration, Device, Library
from agent.camera.sensor_clock import Clocks, SensorClock, count_missing

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0
"""Without a frame for this long, something is done about it."""
STEP_TIMEOUT_S: Final = 10.0
"""A step of the recovery that takes longer hangs: picamera2's own thread has died."""
HEALTHY_FRAMES: Final = 100
"""After this many in a row, an old failure counts no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a camera needs of the unit."""

    clock: Clock
    clocks: Clocks
    """The sensor's clock and the wall clock."""
    make_lores: Callable[[Plane], Plane]
    """For a camera that gives one stream only, `vision.image.shrink_plane`."""
    state: CameraState
    """Where the camera tells how it is."""
    timeout_s: float = TIMEOUT_S
    step_timeout_s: float = STEP_TIMEOUT_S


class PiCamera:
    """Gives the frames of one camera; the planes are views into its buffers.

    When no frame comes, the recovery goes up a ladder, one rung each `timeout_s`: forget those who
    wait; stop and start; close and open again; then it gives up, and systemd starts the watcher
    anew. libcamera raises nothing when a cable comes off: silence is all there is.

    Args:
        number: Of the camera.
        library: picamera2.
        camera: Sizes, frame rate, sensor mode, focus.
        exposure: For plates.
        around: The unit.
    """

    def __init__(
        self,
        number: int,
        library: Library,
        *,
        camera: CameraSettings,
        exposure: ExposureSettings,
        around: Surroundings,
    ) -> None:
        self._number, self._library = number, library
        self._settings, self._exposure_settings = camera, exposure
        self._around, self._state = around, around.state
        self._place = f"picamera2:{number}"
        self._leases = Leases()
        self._clock = SensorClock(around.clocks)
        self._interval_ns = round(1e9 / camera.frames_per_s)
        self._device: Device | None = None
        self._exposure: AutoExposure | None = None
        self._sizes: dict[str, tuple[int, int]] = {}
        self._failures = self._healthy = 0
        self._last_ns = 0
        self._index = 0

    @property
    def broken_frames(self) -> int:
        """Frames that came without a time or out of order, and were left out."""
        return self._state.stale_frames

    @property
    def is_live(self) -> bool:
        """Yes: a sensor waits for nobody."""
        return True

    @property
    def keeps_frames(self) -> bool:
        """No: a buffer goes back to the sensor when the next frame is asked for."""
        return False

    def frames(self) -> Iterator[Frame]:
        """Give one frame after the other, for ever; see `Camera.frames`.

        Raises:
            DeviceError: The camera fell silent and could not be brought back.
            BufferError: A plane of an earlier frame is still in use: a fault of this program.
        """
        while True:
            self._leases.give_back()
            request = self._await_request()
            frame = self._take(request)
            del request
            if frame is not None:
                yield frame
            del frame

    def __enter__(self) -> Self:
        """Open the camera, configure it and let frames come.

        Raises:
            DeviceError: It is not there, is used by another process or cannot do what is asked.
        """
        self._within("open", self._open)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Give the camera back; one that hangs is left to the end of the process."""
        if self._device is None:
            return
        try:
            self._within("close", self._close)
        except DeviceError as failure:
            log.warning("camera not closed", extra={"detail": str(failure)})
        self._device = None

    def _take(self, request: Request) -> Frame | None:
        """Return the frame of a request, None where it is no newer than the one before."""
        metadata = request.get_metadata()
        sensor_ns = int(metadata.get("SensorTimestamp", 0))
        if sensor_ns <= self._last_ns:
            self._state.stale_frames += 1
            request.release()
            return None
        interval_ns = int(metadata.get("FrameDuration", 0)) * 1000 or self._interval_ns
        if self._index:
            missing = count_missing(self._last_ns, sensor_ns, interval_ns=interval_ns)
            self._state.dropped_frames += missing
        self._last_ns = sensor_ns
        planes = self._leases.take(request, self._map, self._sizes)
        self._recover_slowly()
        y = planes["main"]
        lores = planes["lores"] if "lores" in planes else self._around.make_lores(y)
        self._expose(metadata, lores)
        self._index += 1
        return Frame(
            index=self._index - 1,
            captured_at=self._clock.date(sensor_ns),
            sensor_ns=sensor_ns,
            y=y,
            lores=lores,
        )

    def _map(self, request: Request, stream: str) -> Any:  # noqa: ANN401  `Mapped`, as it comes
        return self._library.MappedArray(request, stream, write=False)

    def _expose(self, metadata: dict[str, Any], lores: Plane) -> None:
        """Let the exposure follow the light, and tell of it."""
        if self._exposure is None or self._device is None:
            return
        now_s = self._around.clock.monotonic_ns() / 1e9
        controls = self._exposure.follow(metadata, lores, at_s=now_s)
        self._exposure.tell(metadata, self._state)
        if controls:
            self._device.set_controls(controls)

    def _await_request(self) -> Request:
        """Wait for a frame, and see to it that one comes.

        Raises:
            DeviceError: None does, whatever is done.
        """
        while True:
            device = self._device
            if device is None:
                message = f"{self._place}: not open; expected frames() within the with block"
                raise DeviceError(message)
            try:
                return device.capture_request(wait=self._around.timeout_s)
            except (TimeoutError, CancelledError) as error:
                self._recover(error)
            except (RuntimeError, OSError) as error:
                raise explain(error, place=self._place, step="capture") from error

    def _recover_slowly(self) -> None:
        """Forget old failures once enough frames came in a row."""
        self._healthy += 1
        if self._failures and self._healthy >= HEALTHY_FRAMES:
            self._failures = 0

    def _recover(self, cause: BaseException) -> None:
        """Do the next thing that may bring the frames back."""
        self._failures, self._healthy = self._failures + 1, 0
        self._state.stalls += 1
        steps = {1: self._flush, 2: self._restart, 3: self._reopen}
        step = steps.get(self._failures)
        if step is None:
            message = f"{self._place}: no frame for {self._around.timeout_s:.0f} s, also after "
            message += "opening it again; expected one every "
            message += f"{self._interval_ns / 1e6:.0f} ms; look at the camera's cable"
            raise DeviceError(message) from cause
        name = step.__name__.strip("_")
        log.warning("no frame came", extra={"place": self._place, "reason": name})
        self._within(name, step)

    def _flush(self) -> None:
        """Forget those who wait: a wait that timed out would swallow the next frame."""
        self._open_device().cancel_all_and_flush()

    def _restart(self) -> None:
        """Stop and start the sensor."""
        device = self._open_device()
        device.cancel_all_and_flush()
        self._leases.end_all()
        device.stop()
        device.start()
        self._state.restarts += 1

    def _reopen(self) -> None:
        """Close the camera and open it again."""
        self._open_device().cancel_all_and_flush()
        if not self._close():
            message = f"{self._place}: its last frame is still in use; expected it to be free"
            raise DeviceError(message)
        self._open()
        self._state.reopens += 1

    def _open_device(self) -> Device:
        if self._device is None:
            message = f"{self._place}: is closed; expected it open"
            raise DeviceError(message)
        return self._device

    def _open(self) -> None:
        device = self._library.Picamera2(self._number)
        self._device = device
        try:
            self._set_up(device)
        except BaseException:
            self._device = None
            device.close()
            raise

    def _set_up(self, device: Device) -> None:
        plan = plan_configuration(device, self._settings)
        self._exposure = AutoExposure.of(device.camera_controls, self._exposure_settings)
        if self._exposure is not None:
            plan["controls"] |= self._exposure.begin()
        device.configure(plan)
        self._sizes = read_sizes(device.camera_configuration(), plan, place=self._place)
        told = describe(device.camera_configuration())
        log.info("camera configured", extra={"place": self._place, "detail": told})
        device.start()

    def _close(self) -> bool:
        """Close the camera, or only stop it while a plane of it is looked at.

        picamera2 frees the buffers in `close`; with a view of one of them left it breaks off in
        the middle and leaves descriptors behind. The end of the process closes what was stopped.
        """
        device, is_free = self._open_device(), self._leases.end_all()
        if not is_free:
            device.stop()
            return False
        self._device = None
        device.close()
        return True

    def _within(self, name: str, step: Callable[[], object]) -> None:
        """Take a step, for no longer than it may last.

        Raises:
            DeviceError: It fails, or hangs.
        """
        failures: list[BaseException] = []

        def work() -> None:
            try:
                step()
            except BaseException as error:  # noqa: BLE001  it is raised again below
                failures.append(error)

        thread = threading.Thread(target=work, name=f"camera {name}", daemon=True)
        thread.start()
        thread.join(self._around.step_timeout_s)
        if thread.is_alive():
            message = f"{self._place}: {name} hangs for {self._around.step_timeout_s:.0f} s; "
            message += "expected an answer; the service has to be started again"
            raise DeviceError(message)
        if failures:
            raise explain(failures[0], place=self._place, step=name) from failures[0]


def explain(error: BaseException, *, place: str, step: str) -> BaseException:
    """Return ours for what picamera2 and libcamera raise; what is ours already stays."""
    if not isinstance(error, (RuntimeError, IndexError, OSError, ValueError, KeyError)):
        return error
    why = error.__cause__ or error
    message = f"{place}: {step} failed ({why}); expected a camera that no other process uses; "
    message += "see `rpicam-hello --list-cameras`"
    return DeviceError(message)


def describe(configuration: Configuration) -> str:
    """Return what libcamera made of the configuration, for the log."""
    parts = [
        f"{name} {part['size'][0]}x{part['size'][1]} {part['format']}, rows of {part['stride']}"
        for name in STREAMS
        if (part := configuration.get(name))
    ]
    size = (configuration.get("sensor") or {}).get("output_size")
    return "; ".join([*parts, f"sensor {size[0]}x{size[1]}"] if size else parts)

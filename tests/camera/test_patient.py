"""A camera that stalls holds nobody up, and nobody holds up a camera."""

import threading

import numpy as np
import pytest

from agent.base.errors import DeviceError
from agent.camera.patient import PatientCamera
from tests.fakes import FakeCamera, FakeClock

PICTURES = [np.full((64, 64), number, np.uint8) for number in range(3)]
WAIT_S = 0.001


class StallingCamera(FakeCamera):
    """Hangs after its first frame, in a call that nothing interrupts, until it is let go."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.let_go = threading.Event()
        self.closed = 0

    def frames(self):
        frames = super().frames()
        yield next(frames)
        self.let_go.wait()
        yield from frames

    def __exit__(self, *error):
        self.closed += 1
        super().__exit__(*error)


def stalling(*, leave_s=60, **options):
    camera = StallingCamera(PICTURES, clock=FakeClock(), **options)
    return camera, PatientCamera(camera, wait_s=WAIT_S, leave_s=leave_s)


def await_frame(frames):
    """Return the next frame, however long a busy machine takes for it."""
    return next(frame for frame in frames if frame is not None)


def test_frames_come_through_in_order_and_unchanged():
    camera = FakeCamera(PICTURES, clock=FakeClock())
    with PatientCamera(camera, wait_s=60) as patient:
        seen = [int(frame.y[0, 0]) for frame in patient.frames()]
    assert seen == [0, 1, 2]
    assert not camera.is_open


def test_while_the_camera_stalls_there_is_word_that_no_frame_came():
    camera, patient = stalling()
    with patient:
        frames = patient.frames()
        assert await_frame(frames).index == 0
        assert [next(frames) for _ in range(3)] == [None] * 3
        camera.let_go.set()
        later = [frame.index for frame in frames if frame is not None]
    assert later == [1, 2]
    assert camera.closed == 1


def test_a_camera_that_is_left_while_a_frame_is_under_way_is_given_back():
    camera, patient = stalling()
    with patient:
        frames = patient.frames()
        await_frame(frames)
        assert next(frames) is None
        camera.let_go.set()
    assert camera.closed == 1
    assert not camera.is_open


class UnusableCamera(FakeCamera):
    """Fails when it is asked for frames, not when for the first of them."""

    def frames(self):
        raise DeviceError("camera: busy")


def test_a_camera_that_cannot_begin_says_so_and_is_given_back():
    camera = UnusableCamera(PICTURES, clock=FakeClock())
    with PatientCamera(camera, wait_s=60) as patient, pytest.raises(DeviceError, match="busy"):
        next(patient.frames())
    assert not camera.is_open


def test_a_camera_that_hangs_does_not_keep_the_process_from_ending():
    camera, patient = stalling(leave_s=WAIT_S)
    with patient:
        frames = patient.frames()
        await_frame(frames)
        assert next(frames) is None
    assert camera.closed == 0
    camera.let_go.set()


def test_what_goes_wrong_in_the_camera_is_raised_where_frames_are_awaited():
    camera = FakeCamera(PICTURES, clock=FakeClock(), broken=frozenset({0}), falls_silent=True)
    with PatientCamera(camera, wait_s=60) as patient:
        frames = patient.frames()
        assert [next(frames).index, next(frames).index] == [0, 1]
        with pytest.raises(DeviceError, match="no frame"):
            next(frames)
        assert patient.broken_frames == 1
    assert not camera.is_open


class LiveCamera(FakeCamera):
    """Gives its frames at a pace of its own: nobody's slowness holds it up."""

    def __init__(self, pictures, **options):
        super().__init__(pictures, clock=FakeClock(), **options)
        self.is_live = True
        self.given, self.may_go_on = 0, threading.Semaphore(0)

    def frames(self):
        for frame in super().frames():
            self.may_go_on.acquire()
            self.given += 1
            yield frame


MANY = [np.full((64, 64), number, np.uint8) for number in range(40)]


def await_state(patient, wanted):
    """Wait, without a limit, until the capture thread has done something."""
    with patient._changed:
        patient._changed.wait_for(wanted)


def test_a_live_camera_is_never_held_up_and_what_it_gave_is_looked_at_or_counted():
    camera = LiveCamera(MANY)
    seen = []
    with PatientCamera(camera, wait_s=0.001) as patient:
        frames = patient.frames()
        camera.may_go_on.release()
        seen.append(int(await_frame(frames).y[0, 0]))
        camera.may_go_on.release(20)  # while the first one is looked at
        await_state(patient, lambda: patient.dropped_frames == 19)
        seen.append(int(await_frame(frames).y[0, 0]))
        camera.may_go_on.release(len(MANY))
        await_state(patient, lambda: patient._ended)
        seen += [int(frame.y[0, 0]) for frame in frames if frame is not None]
    assert seen == [0, 20, 39]
    assert len(seen) + patient.dropped_frames == camera.given == len(MANY)


def test_a_frame_that_is_looked_at_stays_as_it_is_while_newer_ones_come():
    camera = LiveCamera(MANY)
    with PatientCamera(camera, wait_s=0.001) as patient:
        frames = patient.frames()
        camera.may_go_on.release()
        frame = await_frame(frames)
        camera.may_go_on.release(30)
        await_state(patient, lambda: patient.dropped_frames == 29)
        assert set(frame.y.ravel().tolist()) == set(frame.lores.ravel().tolist()) == {0}
        camera.may_go_on.release(len(MANY))


def test_frames_that_hold_by_themselves_are_not_copied():
    camera = FakeCamera(PICTURES, clock=FakeClock())
    camera.keeps_frames = True
    with PatientCamera(camera, wait_s=60) as patient:
        addresses = {frame.y.__array_interface__["data"][0] for frame in patient.frames()}
    assert len(addresses) == 1  # the camera's one buffer


def test_a_camera_of_files_waits_until_there_is_room_and_no_frame_is_lost():
    camera = FakeCamera(MANY, clock=FakeClock())
    with PatientCamera(camera, wait_s=60) as patient:
        seen = [int(frame.y[0, 0]) for frame in patient.frames()]
    assert (seen, patient.dropped_frames) == (list(range(len(MANY))), 0)


def test_at_the_end_a_frame_that_nobody_looked_at_is_counted():
    camera = LiveCamera(MANY[:2])
    with PatientCamera(camera, wait_s=0.001) as patient:
        frames = patient.frames()
        camera.may_go_on.release(1)
        await_frame(frames)
        camera.may_go_on.release(5)
        await_state(patient, lambda: patient._ended)
    assert patient.dropped_frames == 1


def test_a_camera_of_files_that_nobody_asks_any_more_lets_go():
    camera = FakeCamera(MANY, clock=FakeClock())
    with PatientCamera(camera, wait_s=60) as patient:
        next(patient.frames())
    assert not patient._thread.is_alive()
    assert not camera.is_open


def test_a_camera_that_nobody_asked_is_given_back():
    camera = FakeCamera(PICTURES, clock=FakeClock())
    with PatientCamera(camera, wait_s=60):
        pass
    assert not camera.is_open

"""A camera that stalls holds nobody up."""

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


def stalling(**options):
    camera = StallingCamera(PICTURES, clock=FakeClock(), **options)
    return camera, PatientCamera(camera, wait_s=WAIT_S)


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


def test_a_camera_that_hangs_does_not_keep_the_process_from_ending():
    camera, patient = stalling()
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


def test_a_camera_that_nobody_asked_is_given_back():
    camera = FakeCamera(PICTURES, clock=FakeClock())
    with PatientCamera(camera, wait_s=60):
        pass
    assert not camera.is_open

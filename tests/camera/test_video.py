"""Video files and addresses."""

from datetime import UTC, datetime, timedelta
from functools import partial

import av
import numpy as np
import pytest

from agent.base.errors import DeviceError, InputError
from agent.base.settings import CameraSettings, Settings, SheddingSettings
from agent.camera.container import name_source
from agent.camera.patient import PatientCamera
from agent.camera.sources import open_camera
from agent.camera.video import VideoFile
from agent.vision.image import shrink_plane
from tests.camera.rtsp_server import RtspServer
from tests.camera.videos import FRAMES, RATE, write_growing_video, write_sound, write_video
from tests.fakes import NOON, FakeClock

LORES = partial(shrink_plane, width_px=80)


def open_video(path, **options):
    return VideoFile(str(path), make_lores=LORES, clock=FakeClock(), **options)


def read_all(path, **options):
    """Return copies of all luminance planes, and the broken frames."""
    with open_video(path, **options) as video:
        planes = [frame.y.copy() for frame in video.frames()]
        return planes, video.broken_frames


@pytest.mark.parametrize(
    ("pixels", "codec", "name"),
    [
        pytest.param("yuv420p", "libx264", "a.mp4", id="yuv420p"),
        pytest.param("yuvj420p", "mjpeg", "a.avi", id="yuvj420p"),
        pytest.param("yuv422p", "libx264", "a.mp4", id="yuv422p"),
        pytest.param("yuv444p", "libx264", "a.mp4", id="yuv444p"),
        pytest.param("nv12", "rawvideo", "a.nut", id="nv12"),
        pytest.param("gray", "ffv1", "a.mkv", id="gray"),
        pytest.param("yuv420p10le", "ffv1", "a.mkv", id="10 bits, converted"),
        pytest.param("bgr24", "rawvideo", "a.nut", id="colours, converted"),
    ],
)
def test_every_pixel_format_gives_the_luminance_that_was_recorded(tmp_path, pixels, codec, name):
    pictures = write_video(tmp_path / name, pixels=pixels, codec=codec, count=6)
    planes, broken = read_all(tmp_path / name)
    assert (len(planes), broken) == (6, 0)
    # Limited range keeps 219 of 255 levels; codecs blur edges: compare by correlation.
    for plane, picture in zip(planes, pictures, strict=True):
        assert plane.shape == picture.shape
        assert np.corrcoef(plane.ravel(), picture.ravel())[0, 1] > 0.97


def test_the_plane_is_a_view_and_its_rows_may_be_longer_in_memory(tmp_path):
    write_video(tmp_path / "a.mp4", size=(168, 96), count=3)
    with open_video(tmp_path / "a.mp4") as video:
        frame = next(video.frames())
        assert not frame.y.flags.owndata
        assert frame.y.shape == (96, 168)
        assert frame.y.strides[0] >= 168


def test_the_low_resolution_plane_keeps_the_aspect(tmp_path):
    write_video(tmp_path / "a.mp4", count=3)
    with open_video(tmp_path / "a.mp4") as video:
        frame = next(video.frames())
        assert frame.lores.shape == (48, 80)
        np.testing.assert_array_equal(frame.lores, LORES(frame.y))


def test_frames_are_numbered_and_dated_by_the_container(tmp_path):
    write_video(tmp_path / "a.mp4", count=5)
    with open_video(tmp_path / "a.mp4", started_at=NOON) as video:
        frames = [(frame.index, frame.captured_at, frame.sensor_ns) for frame in video.frames()]
    assert [index for index, _, _ in frames] == [0, 1, 2, 3, 4]
    assert [at - NOON for _, at, _ in frames] == [timedelta(seconds=n / RATE) for n in range(5)]
    assert np.diff([sensor for _, _, sensor in frames]).tolist() == [1_000_000_000 // RATE] * 4


def test_without_a_start_the_file_tells_when_it_was_recorded(tmp_path):
    write_video(tmp_path / "plain.mp4", count=3)
    with (
        av.open(str(tmp_path / "plain.mp4")) as plain,
        av.open(str(tmp_path / "dated.mp4"), "w") as dated,
    ):
        dated.metadata["creation_time"] = "2024-02-03T04:05:06.000000Z"
        stream = dated.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                dated.mux(packet)
    with open_video(tmp_path / "dated.mp4") as video:
        assert next(video.frames()).captured_at == datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    with open_video(tmp_path / "plain.mp4") as video:
        assert next(video.frames()).captured_at == NOON


def test_real_time_waits_for_each_frame_and_not_for_one_that_is_late(tmp_path):
    write_video(tmp_path / "a.mp4", count=4)
    clock = FakeClock()
    with VideoFile(str(tmp_path / "a.mp4"), make_lores=LORES, clock=clock, realtime=True) as video:
        frames = video.frames()
        next(frames)
        next(frames)
        clock.advance(1.0)
        next(frames)
    assert clock.waits_s == pytest.approx([0.0, 1 / RATE, 0.0])


@pytest.mark.parametrize("sheds", [True, False])
def test_a_file_in_real_time_loses_no_frame_where_nothing_is_to_be_shed(tmp_path, sheds):
    write_video(tmp_path / "a.mp4", count=8)
    settings = Settings(
        unit="u",
        camera=CameraSettings(source=str(tmp_path / "a.mp4"), realtime=True),
        shedding=SheddingSettings(enabled=sheds),
    )
    bare = open_camera(settings, clock=FakeClock())
    assert bare.is_live is sheds
    with PatientCamera(bare, wait_s=0.01) as camera:
        frames = camera.frames()
        next(frame for frame in frames if frame is not None)
        if sheds:  # this clock never waits: all others come while the first is looked at
            with camera._changed:
                camera._changed.wait_for(lambda: camera._ended)
        rest = [frame.index for frame in frames if frame is not None]
    assert 1 + len(rest) + camera.dropped_frames == 8
    assert bool(camera.dropped_frames) is sheds


def test_a_broken_frame_in_the_middle_is_counted_and_left_out(tmp_path):
    path = tmp_path / "a.avi"
    write_video(path, pixels="yuvj420p", codec="mjpeg")
    content = bytearray(path.read_bytes())
    middle = content.index(b"\xff\xda", len(content) // 2)  # the pixels of a JPEG begin
    content[middle + 20 : middle + 420] = np.random.default_rng(4).bytes(400)
    path.write_bytes(content)
    planes, broken = read_all(path)
    assert broken == 1
    assert len(planes) == FRAMES - 1


def test_damage_in_the_middle_of_h264_never_ends_the_video(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path)
    content = bytearray(path.read_bytes())
    data = content.index(b"mdat")
    middle = data + (len(content) - data) // 2
    content[middle : middle + 300] = np.random.default_rng(5).bytes(300)
    path.write_bytes(content)
    planes, broken = read_all(path)
    assert broken >= 1
    assert FRAMES // 2 <= len(planes) < FRAMES


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda _: None, "No such file", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "0 bytes", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"plate" * 999), "Invalid data", id="text"),
        pytest.param(lambda path: path.mkdir(), "cannot be opened", id="folder"),
        pytest.param(write_sound, "found audio; expected a video", id="sound only"),
        pytest.param(partial(write_video, size=(48, 64)), "48x64", id="too small"),
        pytest.param(partial(write_video, size=(8256, 64), count=1), "8256x64", id="too large"),
        pytest.param(lambda path: path.write_bytes(b"\0\0\0\x18ftypisom"), "cannot", id="header"),
    ],
)
def test_what_is_no_usable_video_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "a.mp4"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        open_video(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_was_cut_off_gives_its_frames_and_then_the_error(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_video(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    seen = []
    with open_video(path) as video, pytest.raises(InputError, match=r"s of the declared duration"):
        seen.extend(frame.index for frame in video.frames())
    assert seen == list(range(len(seen)))
    assert 5 < len(seen) < FRAMES


def test_an_mp4_that_was_cut_off_before_its_index_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(InputError, match="cannot be opened"):
        open_video(path)


def test_a_size_that_changes_in_mid_stream_ends_in_an_error(tmp_path):
    path = tmp_path / "a.h264"
    write_growing_video(path)
    with pytest.raises(InputError, match=r"changes from \(160, 96\) to \(192, 128\)"):
        read_all(path)


def test_a_video_without_one_whole_frame_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, count=5)
    content = path.read_bytes()
    data = content.index(b"mdat") + 4
    path.write_bytes(content[:data] + bytes(len(content) - data))
    with pytest.raises(InputError, match="no frame could be decoded"):
        read_all(path)


def test_a_name_that_looks_like_a_protocol_is_still_a_file(tmp_path):
    path = tmp_path / "http:cam.mp4"
    write_video(path, count=3)
    assert len(read_all(path)[0]) == 3


def test_a_playlist_reaches_no_other_protocol(tmp_path):
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        read_all(path)


def test_an_address_that_does_not_answer_is_a_fault_of_the_unit_and_hides_the_password():
    with pytest.raises(DeviceError, match=r"rtsp://127\.0\.0\.1:9/main: no answer") as caught:
        VideoFile("rtsp://user:secret@127.0.0.1:9/main", make_lores=LORES, clock=FakeClock())
    assert "secret" not in str(caught.value)


def test_messages_name_a_path_as_it_was_given():
    assert name_source("/videos/a@b.mp4") == "/videos/a@b.mp4"


def test_the_decoder_writes_nothing_to_standard_error(tmp_path, capfd):
    path = tmp_path / "a.mp4"
    write_video(path)
    path.write_bytes(path.read_bytes()[:-200])
    with open_video(path) as video:
        for _ in video.frames():
            pass
    assert capfd.readouterr() == ("", "")


def test_a_camera_on_the_network_is_dated_by_the_clock_and_its_silence_is_an_error(tmp_path):
    write_video(tmp_path / "a.ts", count=FRAMES)
    clock = FakeClock()
    dates = []

    def note(frame):
        assert frame.y.shape == (96, 160)
        dates.append(frame.captured_at)
        clock.advance(0.5)

    with (
        RtspServer(tmp_path / "a.ts") as server,
        VideoFile(server.address, make_lores=LORES, clock=clock, realtime=True) as video,
        pytest.raises(DeviceError, match=r"rtsp://127\.0\.0\.1:\d+/main: .*; expected"),
    ):
        list(map(note, video.frames()))
    assert len(dates) > FRAMES // 2
    assert dates[:3] == [NOON + timedelta(seconds=seconds) for seconds in (0, 0.5, 1)]
    assert clock.waits_s == []

"""From a receiver to a sealed read: with a real gpsd where there is one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.base.errors import ConfigError, DeviceError, IntegrityError
from agent.base.gps import read_track
from agent.cli.gps import keep_track
from agent.cli.open import open_items
from agent.cli.open_alerts import place_fields
from agent.seal import Sealer, _stored_read
from agent.trust.cbor import encode_in_order
from agent.trust.contents import compress, decode_reads_text, read_map
from agent.trust.frames import scan_frames
from agent.trust.keys import Opener, generate_opener
from tests.base.test_gps import fix
from tests.fakes import FakeClock
from tests.independent_opener import open_frame
from tests.sealing import plate_hit, plate_read

LINE = b'{"class":"TPV","mode":3,"time":"2026-06-01T12:00:00Z","lat":38.5,"lon":-121.5,"eph":3.0}\n'
SENTENCES = (
    "$GPRMC,12{:02}{:02}.00,A,3834.8967,N,12129.6640,W,021.9,084.4,010626,,,A",
    "$GPGGA,12{:02}{:02}.00,3834.8967,N,12129.6640,W,1,08,0.9,9.1,M,-29.0,M,,",
)
"""What a receiver says each second."""


def test_the_file_has_the_newest_fixes_and_is_replaced_with_each(tmp_path):
    path, clock = tmp_path / "track", FakeClock()
    seen = []

    def lines():
        for _ in range(3):
            yield b"noise\n"
            yield LINE
            seen.append(len(read_track(path).fixes))
            clock.advance(1)

    keep_track(lines(), path, clock=clock, stop=lambda: False)
    assert seen == [1, 2, 3]
    assert read_track(path).fixes[-1].place.latitude_e7 == 385_000_000


def test_a_folder_that_refuses_is_an_error_of_the_unit(tmp_path):
    with pytest.raises(DeviceError, match="cannot be written"):
        keep_track([LINE], tmp_path / "no" / "t", clock=FakeClock(), stop=lambda: False)


def seal(opener, items, seal_with):
    place = fix(0).place
    sealer = Sealer(
        city_key=opener.public_key,
        policy_sha256=bytes(32),
        unit="car-1",
        boot=bytes(16),
        model_sha256=bytes(32),
        locate=lambda _instant: place,
    )
    content = getattr(sealer, seal_with)(items).content
    (found,) = scan_frames(content)
    return content, open_items(found.frame, opener), place


def test_the_place_is_sealed_with_reads_and_alerts_and_nowhere_in_the_open():
    opener = generate_opener()
    for items, way in (
        ((plate_read(1), plate_read(2)), "seal_reads"),
        ([plate_hit(3)], "seal_hits"),
    ):
        content, opened, place = seal(opener, items, way)
        for item in opened:
            assert getattr(item, "read", item).place == place
        for number in (place.latitude_e7, abs(place.longitude_e7)):
            assert number.to_bytes(4, "big") not in content
    assert place_fields(place) == {
        "latitude": 38.5816123, "longitude": -121.4943996, "error_m": 4.2, "fix_ms": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "way", "key"), [(plate_read, "reads", 12), (plate_hit, "hits", 19)]
)
def test_an_opener_of_another_hand_reads_the_place_as_the_format_says(make, way, key):
    scalar = 7
    opener = Opener(ec.derive_private_key(scalar, ec.SECP256R1()))
    content, _, place = seal(opener, (make(1),), f"seal_{way}")
    _, inside = open_frame(content, scalar)
    (item,) = next(value for name, value in inside.items() if name)
    assert item[key] == [place.latitude_e7, place.longitude_e7, place.error_dm, place.fix_ms]


NOT_PLACES = [
    None, [], [1, 2, 3], [1, 2, 3, 4, 5], [900_000_001, 0, 0, 0], [0, -1_800_000_001, 0, 0],
    [0, 0, -1, 0], [0, 0, 2**31, 0], [0, 0, 0, -1], [True, 0, 0, 0], [1.5, 0, 0, 0], ["1", 0, 0, 0],
]  # fmt: skip


@pytest.mark.parametrize("place", NOT_PLACES, ids=str)
def test_what_is_no_place_is_refused(place):
    fields = read_map(_stored_read(0, plate_read(1))) | {12: place}
    plaintext = compress(encode_in_order({0: 1, 1: [fields]}), 3)
    with pytest.raises(IntegrityError):
        decode_reads_text(plaintext)


def settings(tmp_path, track):
    path = tmp_path / "unit.toml"
    text = f'unit = "car-1"\n[camera]\nsource = "road.mp4"\n[gps]\ntrack = "{track}"\n'
    path.write_text(text)
    return path


def start(config, *arguments, **options):
    command = [sys.executable, "-m", "agent", "gps", "--config", str(config), *arguments]
    return subprocess.Popen(command, **{"stderr": subprocess.PIPE, "text": True} | options)


def test_without_a_track_there_is_nothing_to_keep(tmp_path):
    process = start(settings(tmp_path, ""))
    assert "track is empty" in process.communicate()[1]
    assert process.returncode == ConfigError.exit_code


@pytest.mark.skipif(shutil.which("gpspipe") is None, reason="needs gpspipe (gpsd-clients)")
def test_without_gpsd_systemd_has_to_try_again(tmp_path):
    process = start(settings(tmp_path, tmp_path / "track"), "--gpsd", "127.0.0.1:1")
    assert "gpsd at 127.0.0.1:1: ended or not there" in process.communicate()[1]
    assert process.returncode == DeviceError.exit_code


def add_checksum(sentence):
    return f"{sentence}*{reduce(xor, sentence[1:].encode()):02X}\n"


@pytest.mark.slow
@pytest.mark.skipif(
    not all(shutil.which(name) for name in ("gpsd", "gpsfake", "gpspipe")),
    reason="needs gpsd, gpsfake and gpspipe (gpsd, gpsd-tools, gpsd-clients)",
)
def test_a_real_gpsd_with_a_recorded_receiver_gives_positions(tmp_path):
    log = tmp_path / "receiver.nmea"
    seconds = [divmod(second, 60) for second in range(1800)]
    said = (add_checksum(line.format(*at)) for at in seconds for line in SENTENCES)
    log.write_text("".join(said))
    fake = subprocess.Popen(
        ["gpsfake", "-c", "0.2", "-P", "29471", str(log)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    track = tmp_path / "track"
    config, reader = settings(tmp_path, track), None
    try:
        for _ in range(600):
            if reader is None or reader.poll() is not None:
                reader = start(config, "--gpsd", "127.0.0.1:29471", stderr=subprocess.DEVNULL)
            if read_track(track).fixes:
                break
            time.sleep(0.1)
        (place, *_) = [found.place for found in read_track(track).fixes]
    finally:
        if reader is not None:
            reader.terminate()
            reader.wait()
        os.killpg(fake.pid, signal.SIGTERM)
        fake.wait()
    assert place.latitude_e7 == pytest.approx(385_816_117, abs=20)
    assert place.longitude_e7 == pytest.approx(-1_214_944_000, abs=20)
    assert not track.exists()


def test_the_sender_cannot_read_the_track():
    unit = (Path(__file__).parents[2] / "systemd" / "homeplate-gps.service").read_text()
    users = (Path(__file__).parents[2] / "systemd" / "homeplate.sysusers.conf").read_text()
    assert "RuntimeDirectoryMode=0750" in unit
    assert "Group=homeplate-gps\n" in unit
    assert "m homeplate-watch homeplate-gps" in users
    assert "m homeplate-send homeplate-gps" not in users

"""`homeplate open`: the city reads what is its own, and is told about all else."""

import json
import shutil

import pytest

from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli import main
from agent.seal import Crop, Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.frames import MAGIC, SealedFrame, encode_frame, parse_frame
from agent.trust.keys import (
    encode_private_key,
    generate_opener,
    generate_signer,
    load_opener,
)
from tests.sealing import (
    BOOT,
    NOON,
    folder_with_binding_permissions,
    frame_bytes,
    hit_end,
    plate_hit,
    plate_read,
)

CITY = generate_opener()
JPEG = b"\xff\xd8 made up \xff\xd9"


@pytest.fixture
def city_key(tmp_path):
    path = tmp_path / "city.pem"
    path.write_bytes(encode_private_key(CITY))
    return str(path)


@pytest.fixture
def spool(tmp_path):
    """Three reads (one unreadable), a hit and a crop, in three lanes."""
    sealer = new_sealer()
    writer = SpoolWriter(tmp_path / "spool", SpoolSettings(), dict.fromkeys(Lane, 2**30), BOOT)
    reads = [plate_read(1), plate_read(2), plate_read(3, abstained=True)]
    for commit in (
        sealer.seal_reads(reads[:2]),
        sealer.seal_reads(reads[2:]),
        sealer.seal_hits([plate_hit(4, crop_jpeg=JPEG), hit_end(6)]),
        sealer.seal_crops(
            [Crop(read_sequence=1, seen_at=NOON, jpeg=JPEG)],
        ),
    ):
        writer.put(commit.header.lane, commit.content, NOON)
    writer.close()
    return tmp_path / "spool"


def new_sealer(city=CITY):
    return Sealer(
        city_key=city.public_key,
        policy_sha256=bytes(32),
        unit="test-unit-1",
        boot=BOOT,
        model_sha256=bytes(32),
    )


def reads_segment(spool):
    return SpoolReader(spool).lane(Lane.READS)[0][0].path


def test_a_folder_opens_to_a_table(spool, city_key, capsys):
    assert main(["open", str(spool), "--key", city_key]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("last seen"))
    plates = [line.split()[4] for line in lines[head + 1 : head + 4]]
    assert plates == ["TEST001", "TEST002", "TEST003"]
    assert sum(line.endswith("unreadable") for line in lines) == 1
    assert lines[-1] == "opened: reads 3 · alerts 1 · crops 1 · frames 4 · files 3"


def test_an_alert_shows_all_that_is_needed_to_verify_it_and_that_it_is_a_lead_only(
    spool, city_key, capsys
):
    assert main(["open", str(spool), "--key", city_key, "--alerts"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].endswith("LEAD ONLY - verify plate, state and vehicle")
    assert "plate       TEST004, weakest character 94%" in text
    assert "T 100% E 99%" in text
    assert "CA, stolen-vehicle, Police Department, case 26-0117, until 2026-11-22 12:00 UTC" in text
    assert "hotlist     of 2026-11-21 11:00 UTC, 1 h 0 min old, version 7" in text
    assert "vehicle in view when the alert was made" in text
    assert "test-unit-1-00010203-hits-0.jpg" in text
    assert "END   test-unit-1/00010203/0: the whole passage says the same" in text
    assert "TEST001" not in text


def test_an_alert_that_was_withdrawn_says_so(tmp_path, city_key, capsys):
    commit = new_sealer().seal_hits([plate_hit(1), hit_end(2, confirmed=False)])
    path = tmp_path / "received"
    path.write_bytes(commit.content)
    assert main(["open", str(path), "--key", city_key, "--alerts"]) == 0
    text = capsys.readouterr().out
    assert "END   test-unit-1/00010203/0: WITHDRAWN" in text
    assert "picture" not in text


def test_an_alert_for_machines_says_the_same(spool, city_key, capsys):
    assert main(["open", str(spool), "--key", city_key, "--alerts", "--json"]) == 0
    alert, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert (alert["kind"], alert["text"], alert["lane"]) == ("alert", "TEST004", "hits")
    assert alert["notice"] == "LEAD ONLY - verify plate, state and vehicle"
    assert (alert["list_age_s"], alert["jpeg_bytes"]) == (3600.0, len(JPEG))
    assert alert["matches"][0]["case"] == "26-0117"
    assert (end["kind"], end["alert_sequence"], end["confirmed"]) == ("end", 0, True)


def test_json_has_one_object_a_line_and_the_summary_elsewhere(spool, city_key, capsys):
    assert main(["open", str(reads_segment(spool)), "--key", city_key, "--json"]) == 0
    captured = capsys.readouterr()
    items = [json.loads(line) for line in captured.out.splitlines()]
    assert [item["text"] for item in items] == ["TEST001", "TEST002", "TEST003"]
    assert items[0] == {
        "kind": "read",
        "unit": "test-unit-1",
        "boot": BOOT.hex(),
        "lane": "reads",
        "sequence": 0,
        "text": "TEST001",
        "confidences": [1.0, 0.988, 0.98, 0.969, 0.961, 0.949, 0.941],
        "abstained": False,
        "frames_seen": 24,
        "frames_agreed": 19,
        "first_ms": 1795262401000,
        "last_ms": 1795262401900,
        "first_frame": 30,
        "last_frame": 57,
        "direction": "toward",
        "corners": [400.0, 200.25, 510.5, 201.0, 510.5, 227.5, 400.0, 226.75],
    }
    assert "reads 3" in captured.err


def test_json_tells_of_crops_without_their_bytes(spool, city_key, capsys):
    crops = SpoolReader(spool).lane(Lane.CROPS)[0][0].path
    assert main(["open", str(crops), "--key", city_key, "--json"]) == 0
    item = json.loads(capsys.readouterr().out)
    assert (item["kind"], item["lane"], item["read_lane"]) == ("crop", "crops", "reads")
    assert (item["read_sequence"], item["jpeg_bytes"]) == (1, len(JPEG))
    assert "jpeg" not in item


def test_pictures_are_written_where_asked(spool, city_key, tmp_path):
    folder = tmp_path / "out" / "pictures"
    assert main(["open", str(spool), "--key", city_key, "--crops", str(folder)]) == 0
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        "test-unit-1-00010203-hits-0.jpg",
        "test-unit-1-00010203-reads-1.jpg",
    ]
    assert files[0].read_bytes() == JPEG
    assert files[0].stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_folder_for_pictures_that_cannot_be_made_is_refused(
    spool, city_key, tmp_path, name, capsys
):
    (tmp_path / "taken").write_bytes(b"")
    code = main(["open", str(spool), "--key", city_key, "--crops", str(tmp_path / name)])
    assert code == 78
    assert "--crops" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_told(spool, city_key, tmp_path, capsys):
    (tmp_path / "out" / "test-unit-1-00010203-reads-1.jpg").mkdir(parents=True)
    code = main(["open", str(spool), "--key", city_key, "--crops", str(tmp_path / "out")])
    assert code == 78
    assert "cannot be written" in capsys.readouterr().err


def test_an_export_of_joined_frames_opens_whatever_its_name(spool, city_key, tmp_path, capsys):
    export = tmp_path / "export" / "frames.bin"
    export.parent.mkdir()
    paths = [segment.path for segment in SpoolReader(spool).segments()]
    export.write_bytes(b"".join(path.read_bytes() for path in paths))
    (export.parent / "readme.txt").write_text("not frames")
    assert main(["open", str(export.parent), "--key", city_key]) == 0
    assert "frames 4 · files 1" in capsys.readouterr().out


def test_a_frame_that_is_stored_twice_is_shown_once(spool, city_key, capsys):
    path = reads_segment(spool)
    shutil.copy(path, path.with_name("copy.seg"))
    assert main(["open", str(spool), "--key", city_key, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("TEST001") == 1
    assert "stored twice 2" in captured.err


def test_another_city_s_key_opens_nothing_and_says_so_in_one_line(spool, tmp_path, capsys):
    other = tmp_path / "other.pem"
    other.write_bytes(encode_private_key(generate_opener()))
    assert main(["open", str(spool), "--key", str(other)]) == 77
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "sealed to another key than this one" in captured.err
    given = load_opener(bytearray(other.read_bytes()), place="other").key_id
    assert f"({given.hex()}): 4 to {CITY.key_id.hex()}" in captured.err


def test_frames_of_an_older_key_are_counted_and_the_others_open(spool, city_key, capsys):
    foreign = new_sealer(generate_opener()).seal_reads([plate_read(9)])
    with reads_segment(spool).open("ab") as file:
        file.write(foreign.content)
    assert main(["open", str(spool), "--key", city_key]) == 77
    captured = capsys.readouterr()
    assert captured.out.count("TEST") == 4
    assert "sealed to another key 1" in captured.out


def test_damage_is_counted_and_the_other_frames_open(spool, city_key, capsys):
    path = reads_segment(spool)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    assert main(["open", str(spool), "--key", city_key]) == 65
    captured = capsys.readouterr()
    assert captured.out.count("TEST") == 2
    assert "from byte 0 on" in captured.err
    assert "damaged places: 1, altered frames: 0" in captured.err


def test_altered_frames_are_named_with_their_place(spool, city_key, capsys):
    forged = new_sealer().seal_reads([plate_read(8)]).content
    wrong = frame_bytes(size=100)  # a frame of another key id, in order but for the seal
    path = reads_segment(spool)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(altered(forged) + wrong)
    assert main(["open", str(spool), "--key", city_key]) == 65
    captured = capsys.readouterr()
    assert f"{path} at byte {size}: frame does not open" in captured.err
    assert "altered frames: 1" in captured.err
    assert "TEST008" not in captured.out


def altered(content):
    """The same frame with one ciphertext bit flipped and its checksum mended."""
    frame = parse_frame(content)
    sealed = bytes([*frame.sealed[:-1], frame.sealed[-1] ^ 1])
    return encode_frame(SealedFrame(header=frame.header, sealed=sealed))


def test_an_unfinished_frame_at_the_end_is_no_damage(spool, city_key, capsys):
    with reads_segment(spool).open("ab") as file:
        file.write(frame_bytes()[:50])
    assert main(["open", str(spool), "--key", city_key]) == 0
    assert "unfinished 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "nothing was received yet"),
        (b"rubbish", "these are no sealed frames; expected segments of a unit"),
        (MAGIC + b"rubbish" * 40, "damaged places: 1"),
    ],
    ids=["empty", "a log", "damaged"],
)
def test_files_without_frames_are_told(tmp_path, city_key, content, found, capsys):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert main(["open", str(path), "--key", city_key]) in {65, 66}
    assert found in capsys.readouterr().err


def test_an_empty_folder_has_no_frames(tmp_path, city_key, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["open", str(tmp_path / "empty"), "--key", city_key]) == 66
    assert "no sealed frames" in capsys.readouterr().err


@pytest.mark.parametrize("sign", ["endpoint.toml", "storage/index.sqlite"])
def test_an_endpoint_that_got_nothing_yet_is_told_as_such(tmp_path, city_key, sign, capsys):
    place = tmp_path / "endpoint" / sign
    place.parent.mkdir(parents=True)
    place.write_text("x")
    (place.parent / "frames").write_bytes(b"")
    folder = tmp_path / "endpoint"
    told = {path: main(["open", str(path), "--key", city_key]) for path in (folder, place.parent)}
    assert set(told.values()) == {66}
    assert capsys.readouterr().err.count("nothing was received yet") == 2


def test_a_missing_path_is_named(tmp_path, city_key, capsys):
    assert main(["open", str(tmp_path / "nowhere"), "--key", city_key]) == 66
    assert "nowhere: cannot be read (No such file" in capsys.readouterr().err


def test_a_missing_key_is_named(spool, capsys):
    assert main(["open", str(spool), "--key", "nowhere.pem"]) == 78
    assert "nowhere.pem" in capsys.readouterr().err


def test_what_is_no_key_is_refused(spool, tmp_path, capsys):
    (tmp_path / "key").write_bytes(b"garbage")
    assert main(["open", str(spool), "--key", str(tmp_path / "key")]) == 77
    assert "expected a PEM private key" in capsys.readouterr().err


def test_a_unit_s_own_keys_open_nothing(spool, tmp_path):
    (tmp_path / "watch.key").write_bytes(encode_private_key(generate_signer()))
    assert main(["open", str(spool), "--key", str(tmp_path / "watch.key")]) == 77


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_what_may_not_be_read_is_named(locked, capsys):
    with folder_with_binding_permissions() as folder:
        key, segment = folder / "city.pem", folder / "locked" / "frames.seg"
        key.write_bytes(encode_private_key(CITY))
        segment.parent.mkdir()
        segment.write_bytes(frame_bytes())
        (segment if locked == "file" else segment.parent).chmod(0)
        code = main(["open", str(segment), "--key", str(key)])
        segment.parent.chmod(0o700)
    assert code == 66
    assert "frames.seg: cannot be read (Permission denied)" in capsys.readouterr().err


def test_an_unreadable_file_in_a_folder_does_not_pass_unseen(capsys):
    with folder_with_binding_permissions() as folder:
        (folder / "city.pem").write_bytes(encode_private_key(CITY))
        (folder / "frames").write_bytes(frame_bytes())
        (folder / "frames").chmod(0)
        assert main(["open", str(folder), "--key", str(folder / "city.pem")]) == 66
    assert "frames: cannot be read" in capsys.readouterr().err

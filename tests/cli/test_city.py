"""`homeplate city keys`: a key a period; what is destroyed opens nothing and is named."""

import json
from base64 import b64decode

import pytest

from agent.base.errors import ConfigError, DeviceError
from agent.cli import main
from agent.cli.keyring import RECORD, destroy_key, load_ring, make_key, read_periods
from agent.seal import Sealer
from agent.trust.bundle_files import encode_bundle
from agent.trust.signatures import load_public_key
from tests.policies import draft, policy_fields, text64
from tests.sealing import BOOT, NOON, plate_read


def spool_of(folder, spki, *, number):
    """Write a segment with one read, sealed to a public key."""
    sealer = Sealer(
        city_key=load_public_key(spki, place="test"),
        policy_sha256=bytes(32),
        unit="unit-a",
        boot=BOOT,
        model_sha256=bytes(32),
    )
    folder.mkdir(exist_ok=True)
    commit = sealer.seal_reads((plate_read(number),))
    (folder / f"{number}.seg").write_bytes(commit.content)


@pytest.fixture
def keys(tmp_path):
    """Two periods, and a folder with one read sealed in each."""
    folder = tmp_path / "keys"
    for number, name in enumerate(("2026-10", "2026-11")):
        make_key(folder, name, now=NOON)
        spool_of(tmp_path / "frames", (folder / f"{name}.pub").read_bytes(), number=number)
    return folder


def open_all(keys, capsys):
    code = main(["open", str(keys.parent / "frames"), "--key", str(keys), "--json"])
    captured = capsys.readouterr()
    return code, [json.loads(line)["text"] for line in captured.out.splitlines()], captured.err


def test_a_folder_of_keys_opens_every_period(keys, capsys):
    assert open_all(keys, capsys)[:2] == (0, ["TEST000", "TEST001"])


def test_a_destroyed_period_is_named_and_the_others_open(keys, capsys):
    assert main(["city", "keys", "destroy", str(keys), "2026-10", "--yes"]) == 0
    capsys.readouterr()
    code, texts, errors = open_all(keys, capsys)
    assert (code, texts) == (77, ["TEST001"])
    assert "nobody can open any more: 1 of the period 2026-10" in errors
    assert errors.count("\n") == 2


def test_no_byte_of_a_destroyed_key_is_left_in_the_folder(keys):
    key = (keys / "2026-10.key").read_bytes().splitlines()[1]
    destroy_key(keys, "2026-10", now=NOON)
    assert not (keys / "2026-10.key").exists()
    assert all(key not in path.read_bytes() for path in keys.iterdir())


def test_a_key_that_is_merely_missing_is_not_called_destroyed(keys, capsys):
    (keys / "2026-10.key").unlink()
    code, texts, errors = open_all(keys, capsys)
    assert (code, texts) == (77, ["TEST001"])
    assert "sealed to another key" in errors
    assert "2026-10" not in errors


def test_the_private_half_is_for_its_owner_alone(keys):
    assert (keys / "2026-10.key").stat().st_mode & 0o777 == 0o600


def test_make_prints_the_public_half_for_the_policy(tmp_path, capsys):
    assert main(["city", "keys", "make", str(tmp_path / "keys"), "2026-12", "--json"]) == 0
    captured = capsys.readouterr()
    (period,) = json.loads(captured.out)
    public = load_public_key(b64decode(captured.err.rpartition(": ")[2]), place="stderr")
    assert period["key_id"] == public.key_id.hex()
    assert "PRIVATE" not in captured.out + captured.err


def test_the_list_shows_the_dead_and_the_living(keys, capsys):
    destroy_key(keys, "2026-10", now=NOON)
    assert main(["city", "keys", "list", str(keys)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "destroyed 2026-11-21T12:00:00+00:00" in lines[0]
    assert lines[1].endswith("at hand")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["make", "2026-10"], "has or had a key"),
        (["make", "../up"], "expected a month as in 2026-11"),
        (["make", "november"], "expected a month as in 2026-11"),
        (["make", "2026-13"], "expected a month as in 2026-11"),
        (["destroy", "2026-10", "--yes", "--policies", "."], "no policy there"),
        (["destroy", "2026-10"], "say --yes"),
        (["destroy", "2020-01", "--yes"], "is in no record"),
    ],
)
def test_what_must_not_be_done_is_refused(keys, capsys, arguments, found):
    action, period, *rest = arguments
    before = sorted((path.name, path.read_bytes()) for path in keys.iterdir())
    assert main(["city", "keys", action, str(keys), period, *rest]) == 78
    assert found in capsys.readouterr().err
    assert sorted((path.name, path.read_bytes()) for path in keys.iterdir()) == before


def test_a_dry_run_destroys_nothing(keys, capsys):
    assert main(["city", "keys", "destroy", str(keys), "2026-10", "--dry-run"]) == 0
    assert "can then be opened by nobody" in capsys.readouterr().out
    assert len(load_ring(keys).openers) == 2


def test_a_key_destroyed_twice_is_refused(keys):
    destroy_key(keys, "2026-10", now=NOON)
    with pytest.raises(ConfigError, match="was destroyed at"):
        destroy_key(keys, "2026-10", now=NOON)


def test_a_destruction_cut_off_before_the_record_is_finished_by_the_next(keys):
    (keys / "2026-10.key").unlink()
    destroy_key(keys, "2026-10", now=NOON)
    assert [period.destroyed_at != "" for period in read_periods(keys)] == [True, False]


def test_a_record_in_another_form_is_refused_with_its_line(keys):
    with (keys / RECORD).open("a") as file:
        file.write("{}\n")
    with pytest.raises(ConfigError, match="line 3 is no record"):
        load_ring(keys)


def test_a_disk_that_refuses_is_a_device_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeviceError, match="the disk refuses"):
        make_key(tmp_path / "file" / "keys", "2026-11", now=NOON)


@pytest.mark.parametrize("name", ["current.bundle", "pending.bundle"])
@pytest.mark.parametrize("named", [True, False], ids=["--policies", "found beside the keys"])
def test_a_key_that_a_policy_names_is_not_destroyed_by_accident(keys, capsys, name, named):
    sealing = policy_fields()["sealing"]
    public = text64((keys / "2026-11.pub").read_bytes())
    folder = keys.parent / "policies"
    folder.mkdir()
    bundle = draft(sealing={**sealing, "public_key": public}).bundle()
    (folder / name).write_bytes(encode_bundle(bundle))
    told = ["--policies", str(folder)] if named else []
    destroy = ["city", "keys", "destroy", str(keys)]
    for how in ("--yes", "--dry-run"):
        assert main([*destroy, "2026-11", *told, how]) == 78
        assert f"{name} names this key" in capsys.readouterr().err
    assert len(load_ring(keys).openers) == 2
    assert main([*destroy, "2026-10", *told, "--yes"]) == 0
    assert main([*destroy, "2026-11", *told, "--yes", "--in-use"]) == 0
    assert load_ring(keys).openers == {}


def test_a_key_is_destroyed_without_a_policy_at_hand_but_not_without_a_word(keys, capsys):
    assert main(["city", "keys", "destroy", str(keys), "2026-10", "--yes"]) == 0
    assert "no policy is at hand" in capsys.readouterr().err


def test_a_second_key_of_a_month_has_a_further_word(tmp_path):
    assert make_key(tmp_path, "2026-11-b", now=NOON).name == "2026-11-b"

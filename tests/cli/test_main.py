"""The command line: one clear line and the right exit code, from real processes."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.audit import RecordFile
from agent.cli import COMMANDS, build_parser
from agent.trust.entries import Dropped, decode_entry
from deploy.demo.city import found_city, publish_policy, settle_unit
from tests.policies import force_policy

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"


def homeplate(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def city(tmp_path):
    city = found_city(tmp_path)
    publish_policy(city, port=9)
    settle_unit(city, source=CLIP, realtime=False)
    return city


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def add_unknown_setting(city):
    edit(city.unit_settings, "[camera]", "[camera]\nzoom = 3")


def name_missing_video(city):
    edit(city.unit_settings, str(CLIP), "nowhere.mp4")


def name_empty_video(city):
    (city.unit / "empty.mp4").write_bytes(b"")
    edit(city.unit_settings, str(CLIP), str(city.unit / "empty.mp4"))


def swap_model(city):
    models = city.unit / "models"
    shutil.copytree(ROOT / "models", models, ignore=shutil.ignore_patterns("*.py", "synth"))
    content = bytearray((models / "reader.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (models / "reader.onnx").write_bytes(content)
    edit(city.unit_settings, "[camera]", f'[models]\ndirectory = "{models}"\n[camera]')


def swap_key(city):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (city.unit / "credentials/watch.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def remove_key(city):
    (city.unit / "credentials/watch.key").unlink()


def name_a_host(city):
    host = {**city.book.read_draft()["endpoint"], "addresses": ["reads.example"]}
    force_policy(city, lambda fields: fields.update(endpoint=host))


def leave_a_legal_field_blank(city):
    force_policy(city, lambda fields: fields["legal"].update(monitoring=" "))


def tamper_with_the_policy(city):
    path = city.unit / "policy.bundle"
    path.write_bytes(path.read_bytes()[:-5])


def sign_with_one_office(city):
    publish_policy(city, port=9, signed_by=("clerk",))
    shutil.copy(city.book.folder / "pending.bundle", city.unit / "policy.bundle")


def bring_other_models(city):
    city.book.write("models.toml", b"other models")
    force_policy(city, dict)


def lose_the_state_folder(city):
    (city.unit / "state").rmdir()


def outlive_the_policy(city):
    past = {"issued_at": "2020-01-01T00:00:00Z", "expires_at": "2020-02-01T00:00:00Z"}
    force_policy(city, lambda fields: fields.update(past))


@pytest.mark.parametrize(
    ("spoil", "code", "found"),
    [
        (add_unknown_setting, 78, "zoom"),
        (name_missing_video, 66, "nowhere.mp4"),
        (name_empty_video, 66, "empty.mp4"),
        (swap_model, 65, "SHA-256"),
        (swap_key, 77, "RSA"),
        (remove_key, 78, "watch.key"),
        (name_a_host, 79, "$.endpoint.addresses[0]"),
        (leave_a_legal_field_blank, 79, "$.legal: blank: monitoring"),
        (tamper_with_the_policy, 79, "policy.bundle"),
        (sign_with_one_office, 79, "signed by clerk, and 2 offices must sign"),
        (bring_other_models, 79, "allows the models"),
        (outlive_the_policy, 79, "expired at 2020-02-01"),
        (lose_the_state_folder, 78, "make it"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_is_said_in_one_line_with_its_exit_code(city, spoil, code, found):
    spoil(city)
    run = homeplate("watch", "--config", city.unit_settings)
    assert run.returncode == code, run.stderr
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr
    assert found in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


@contextmanager
def small_disk(folder, size):
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_on_a_full_disk_what_does_not_fit_is_dropped_counted_and_logged(city):
    state = city.unit / "state"
    (state / "spool/crops").mkdir(parents=True)
    with small_disk(state / "spool/crops", "16k"):
        run = homeplate("watch", "--config", city.unit_settings)
        assert run.returncode == 0, run.stderr
        counters = json.loads(run.stdout.splitlines()[-1])
        assert counters["crops_dropped"] > 0
        contents = RecordFile(state / "audit/watch/entries").follow()
        entries = [decode_entry(content) for content in contents]
        dropped = sum(entry.count for entry in entries if isinstance(entry, Dropped))
        assert dropped == counters["dropped"] + counters["crops_dropped"]
        assert count_opened(city, state) == counters["sealed"]


@pytest.mark.slow
def test_without_room_for_the_log_the_watcher_ends_with_its_exit_code(city):
    with small_disk(city.unit / "state", "4k"):
        run = homeplate("watch", "--config", city.unit_settings)
        assert run.returncode == 73, run.stderr
        assert "make room" in run.stderr.splitlines()[-1]


def count_opened(city, state):
    run = homeplate("open", state / "spool", "--key", city.opening_key, "--json")
    assert run.returncode == 0, run.stderr
    return sum(json.loads(line)["kind"] == "read" for line in run.stdout.splitlines())


def test_an_unknown_command_is_refused():
    run = homeplate("share")
    assert run.returncode == 78
    assert "invalid choice" in run.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    run = homeplate(name, "--help")
    assert run.returncode == 0
    assert run.stdout.startswith(f"usage: homeplate {name}")


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    assert all(f"homeplate {name}" in text for name in COMMANDS)


def test_the_overview_lists_every_command():
    help_text = build_parser([]).format_help()
    assert all(name in help_text for name in COMMANDS)


def test_without_a_command_the_list_of_commands_is_shown():
    done = homeplate()
    assert all(f"{name} " in done.stderr for name in COMMANDS)
    assert (done.returncode, done.stdout) == (78, "")


@pytest.mark.parametrize("words", [(), ("bench", "sound"), ("open",)], ids=str)
def test_a_wrong_command_line_ends_with_the_code_of_a_wrong_setting(words):
    done = homeplate(*words)
    assert done.returncode == 78
    assert "usage:" in done.stderr


def test_help_and_version_end_well():
    assert homeplate("--version").returncode == homeplate("open", "--help").returncode == 0


@pytest.mark.slow
def test_no_library_keeps_or_sends_anything_of_its_own(tmp_path):
    """Onnxruntime's packages do: an identifier and a file of events below the home folder."""
    run = subprocess.run(
        [sys.executable, "-m", "agent", "models", "verify"],
        cwd=ROOT,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},  # not CI's, where it holds its tongue
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not list(tmp_path.rglob("*"))

"""`homeplate send` as a real process against the real endpoint, and against none."""

import base64
import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.audit import RecordFile
from agent.base.clock import SystemClock
from agent.cli.unit import load_unit
from agent.cli.watch import build_keeping
from agent.spool import SpoolReader
from agent.trust.entries import RefusedReceipt, Uploaded, decode_entry
from agent.trust.keys import generate_signer
from deploy.demo.__main__ import find_free_port, serving
from deploy.demo.city import found_city, publish_policy, settle_endpoint, settle_unit
from tests.policies import force_policy
from tests.sealing import plate_read

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def city(tmp_path):
    """A unit whose watcher has kept three reads and signed off."""
    (tmp_path / "logs").mkdir()
    city, port = found_city(tmp_path / "city"), find_free_port()
    publish_policy(city, port=port)
    settle_endpoint(city, port=port)
    settle_unit(city, source=Path("none.mp4"), realtime=False)
    clock = SystemClock()
    unit = load_unit(city.unit_settings, "watch")
    keeping = build_keeping(unit, bytes(32), clock)
    keeping.take(tuple(plate_read(number) for number in range(3)))
    keeping.close()
    return city


@contextmanager
def sending(city, *options):
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "send", "--config", city.unit_settings, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def await_event(process, event):
    for line in process.stderr:
        if json.loads(line)["event"] == event:
            return json.loads(line)
    raise AssertionError(event)


def segments(city):
    return SpoolReader(city.unit / "state/spool").segments()


def logged(city, kind):
    contents = RecordFile(city.unit / "state/audit/send/entries").follow()
    return [entry for entry in map(decode_entry, contents) if isinstance(entry, kind)]


def test_all_is_sent_receipted_and_deleted(city, tmp_path):
    with serving(city, tmp_path / "logs"), sending(city, "--drain") as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output)["reads_uploaded"] == 3
    assert segments(city) == ()


def test_an_unreachable_endpoint_is_tried_again_and_nothing_is_lost(city, tmp_path):
    with sending(city, "--drain") as process:
        line = await_event(process, "delivery failed")
        assert "not reached" in line["detail"]
        assert len(segments(city)) == 1
        with serving(city, tmp_path / "logs"):
            process.communicate()
    assert process.returncode == 0
    assert segments(city) == ()


def test_sigterm_ends_the_sender_in_good_order(city):
    with sending(city) as process:
        await_event(process, "delivery failed")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(output)["failures"] >= 1
    assert len(segments(city)) == 1


def test_a_certificate_of_another_city_is_told_and_nothing_is_lost(city, tmp_path):
    other = found_city(tmp_path / "other")
    for name in ("tls.key", "tls.crt"):
        shutil.copy(other.unit / "credentials" / name, city.unit / "credentials" / name)
    with serving(city, tmp_path / "logs"), sending(city) as process:
        line = await_event(process, "delivery failed")
    assert "certificate" in line["detail"]
    assert len(segments(city)) == 1
    assert not logged(city, Uploaded)


def test_a_receipt_of_another_key_is_refused_and_nothing_is_deleted(city, tmp_path):
    theirs = base64.b64encode(generate_signer().public_spki).decode()
    force_policy(city, lambda fields: fields.update(receipt_keys=[theirs]))
    with serving(city, tmp_path / "logs"), sending(city) as process:
        line = await_event(process, "delivery failed")
    assert "the frames stay" in line["detail"]
    assert len(segments(city)) == 1
    assert logged(city, RefusedReceipt)
    assert not logged(city, Uploaded)


def test_what_was_collected_under_an_expired_policy_is_still_sent_and_deleted(city, tmp_path):
    past = {"issued_at": "2020-01-01T00:00:00Z", "expires_at": "2020-02-01T00:00:00Z"}
    force_policy(city, lambda fields: fields.update(past))
    with serving(city, tmp_path / "logs"), sending(city, "--drain") as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output)["reads_uploaded"] == 3
    assert segments(city) == ()


def test_a_key_that_does_not_fit_the_certificate_is_found_at_the_start(city):
    shutil.copy(city.unit / "credentials/send.key", city.unit / "credentials/tls.key")
    with sending(city) as process:
        _, errors = process.communicate()
    assert process.returncode == 77
    assert "tls.crt" in errors


def test_settings_of_another_unit_than_the_certificate_stop_the_start(city):
    text = city.unit_settings.read_text()
    city.unit_settings.write_text(text.replace('unit = "unit-0001"', 'unit = "unit-0002"'))
    with sending(city) as process:
        _, errors = process.communicate()
    assert process.returncode == 77
    assert "is the certificate of unit-0001" in errors

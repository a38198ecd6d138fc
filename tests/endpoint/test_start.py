"""Starting the endpoint: what it refuses to start with, in one line."""

import socket
import sqlite3

import pytest
from cryptography.hazmat.primitives import serialization

from agent.trust.keys import encode_private_key, generate_opener
from tests.certificates import make_authority
from tests.endpoint.city import found_city, make_frame, run_endpoint, serving

pytestmark = pytest.mark.slow


def serve(city):
    return run_endpoint("serve", "--config", city.config)


def assert_refused(done, code, *words):
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("homeplate-endpoint: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


def give_opening_key(city):
    opener = generate_opener()
    (city.folder / "receipt.key").write_bytes(encode_private_key(opener))
    (city.folder / "sealing.der").write_bytes(opener.public_spki)


def give_opening_key_to_tls(city):
    spki = city.folder / "sealing.der"
    spki.write_bytes(_spki(city.server))


def _spki(identity):
    return identity.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def rewrite(old, new):
    def change(city):
        city.config.write_text(city.config.read_text().replace(old, new))

    return change


def remove(name):
    return lambda city: (city.folder / name).unlink()


def overwrite(name):
    return lambda city: (city.folder / name).write_text("nonsense")


def other_issuing_key(city):
    (city.folder / "issuing.key").write_bytes(make_authority().key_pem)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param(give_opening_key, 77, ("opening key", "never hold"), id="opening key"),
        pytest.param(give_opening_key_to_tls, 77, ("opening key",), id="opening key for TLS"),
        pytest.param(rewrite("port = 0", "port = 99999"), 78, ("$.port",), id="port"),
        pytest.param(rewrite("port = 0", "prot = 0"), 78, ("prot",), id="slip of the pen"),
        pytest.param(
            rewrite("port = 0", 'port = 0\nopening_key = "x"'),
            78,
            ("opening_key",),
            id="unknown key",
        ),
        pytest.param(rewrite("issuing_key", "isuing_key"), 78, ("$.enrolment",), id="section"),
        pytest.param(remove("issuing.key"), 78, ("issuing.key",), id="issuing key missing"),
        pytest.param(overwrite("issuing.key"), 77, ("issuing.key",), id="issuing key wrong"),
        pytest.param(other_issuing_key, 77, ("fit together",), id="issuing key of another CA"),
        pytest.param(rewrite("port = 0", "port = ="), 78, ("endpoint.toml",), id="no TOML"),
        pytest.param(
            rewrite("port = 0", 'port = 0\nlisten = "203.0.113.1"'),
            78,
            ("203.0.113.1",),
            id="address",
        ),
        pytest.param(remove("receipt.key"), 78, ("receipt.key",), id="receipt key missing"),
        pytest.param(overwrite("receipt.key"), 77, ("receipt.key",), id="receipt key wrong"),
        pytest.param(overwrite("ca.pem"), 77, ("ca.pem",), id="CA wrong"),
        pytest.param(overwrite("server.crt"), 77, ("server.crt",), id="certificate wrong"),
        pytest.param(overwrite("server.key"), 77, ("server.key",), id="TLS key wrong"),
    ],
)
def test_a_wrong_configuration_stops_the_start_with_one_line(tmp_path, change, code, words):
    city = found_city(tmp_path)
    change(city)
    assert_refused(serve(city), code, *words)


def test_a_missing_configuration_stops_the_start(tmp_path):
    done = run_endpoint("serve", "--config", tmp_path / "none.toml")
    assert_refused(done, 78, "none.toml")


def test_looking_at_a_storage_that_is_not_there_says_so(tmp_path):
    city = found_city(tmp_path)
    for command in (("status",), ("export", tmp_path / "out")):
        assert_refused(run_endpoint(*command, "--config", city.config), 69, "no storage")


def test_one_storage_has_one_endpoint(tmp_path):
    city = found_city(tmp_path)
    with serving(city):
        assert_refused(serve(city), 69, "another endpoint")


@pytest.fixture
def used(tmp_path):
    """A city whose endpoint has stored one frame and stopped."""
    city = found_city(tmp_path)
    with serving(city) as running:
        uplink, log = city.uplink(running.port, "unit-a"), city.logs["unit-a"]
        log.grow(b"sealed")
        uplink.deliver(log.upload(make_frame(last=4)))
        uplink.close()
    return city


def test_frames_of_an_upload_that_was_cut_off_are_cut_off_at_the_start(used):
    path = used.folder / "storage/frames"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"half a frame")
    with serving(used):
        assert path.read_bytes() == whole


def test_missing_frames_stop_the_start(used):
    path = used.folder / "storage/frames"
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(serve(used), 65, "acknowledged are missing")


def test_a_changed_frame_stops_the_export_and_leaves_no_file(used):
    path = used.folder / "storage/frames"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    out = used.folder / "out"
    done = run_endpoint("export", "--config", used.config, out)
    assert_refused(done, 65, "not what was stored")
    assert not out.exists()
    assert not list(used.folder.glob(".out*"))


def test_the_export_cannot_go_where_there_is_no_folder(used):
    done = run_endpoint("export", "--config", used.config, used.folder / "none/out")
    assert_refused(done, 78, "cannot be written")


def test_an_index_that_is_none_is_told(used):
    (used.folder / "storage/index.sqlite").write_bytes(b"nonsense" * 1000)
    assert_refused(serve(used), 69, "storage failed")


def test_the_status_counts_units_lanes_and_reads(used):
    done = run_endpoint("status", "--config", used.config)
    unit, lane, frames, reads, _ = done.stdout.splitlines()[1].split()
    assert (unit, lane, frames, reads) == ("unit-a", "reads", "1", "5")


def test_the_storage_is_for_the_endpoint_alone(used):
    storage = used.folder / "storage"
    assert storage.stat().st_mode & 0o777 == 0o700
    with sqlite3.connect(storage / "index.sqlite") as index:
        assert index.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    index.close()


def test_the_port_is_told_only_while_the_endpoint_listens(tmp_path):
    city = found_city(tmp_path)
    port_file = city.folder / "port"
    with serving(city) as running:
        again = run_endpoint("serve", "--config", city.config, "--port-file", port_file)
        assert_refused(again, 69, "another endpoint has this storage")
        assert port_file.read_text() == f"{running.port}\n"  # still that of the first
    assert not port_file.exists()


def test_a_port_file_that_a_killed_endpoint_left_is_gone_before_the_next_one_listens(tmp_path):
    city = found_city(tmp_path)
    port_file = city.folder / "port"
    port_file.write_text("18443\n")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        rewrite("port = 0", f"port = {other.getsockname()[1]}")(city)
        done = run_endpoint("serve", "--config", city.config, "--port-file", port_file)
    assert_refused(done, 78, "expected a free port")
    assert not port_file.exists()

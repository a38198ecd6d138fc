"""Founding an endpoint: what is made, who may read it, what is refused."""

import json
from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.trust.keys import (
    encode_private_key,
    encode_protected_key,
    generate_opener,
    generate_signer,
)
from tests.endpoint.city import run_endpoint

pytestmark = pytest.mark.slow
FILES = {
    "units-ca.pem", "units-ca.key", "server-ca.pem", "server-ca.key", "server.pem", "server.key",
    "spare.key", "receipt.key", "sealing.pub", "endpoint.toml", "endpoint.json", "tickets",
}  # fmt: skip


@pytest.fixture
def opener():
    return generate_opener()


def init(tmp_path, opener, **changes):
    (tmp_path / "sealing.pub").write_bytes(opener.public_spki)
    given = {
        "server-name": "reads.city.example",
        "address": "127.0.0.1",
        "sealing-key": tmp_path / "sealing.pub",
    } | changes
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return run_endpoint("init", tmp_path / "endpoint", *words)


def spki_of(path):
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_everything_is_made_and_for_its_owner_alone(tmp_path, opener):
    done = init(tmp_path, opener)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "endpoint"
    assert {path.name for path in folder.iterdir()} == FILES
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.*")} == {0o600}
    keys = {path.read_bytes() for path in folder.glob("*.key")}
    assert len(keys) == 5
    assert encode_private_key(opener) not in keys


def test_the_policys_part_pins_the_server_and_the_spare_key(tmp_path, opener):
    init(tmp_path, opener, address="192.0.2.7")
    folder = tmp_path / "endpoint"
    part = json.loads((folder / "endpoint.json").read_text())
    keys = [spki_of(folder / f"{name}.key") for name in ("server", "spare")]
    pins = [b64encode(sha256(spki).digest()).decode() for spki in keys]
    assert part["endpoint"]["spki_pins"] == pins
    assert part["endpoint"]["addresses"] == ["192.0.2.7"]
    assert part["endpoint"]["ca_pem"] == (folder / "server-ca.pem").read_text()
    receipt = b64encode(spki_of(folder / "receipt.key")).decode()
    assert part["receipt_keys"] == [receipt]


def test_no_certificate_can_serve_for_another_purpose(tmp_path, opener):
    init(tmp_path, opener)
    folder = tmp_path / "endpoint"
    server, units, authority = (
        x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        for name in ("server", "units-ca", "server-ca")
    )
    server.verify_directly_issued_by(authority)
    with pytest.raises(ValueError, match="does not match"):
        server.verify_directly_issued_by(units)
    use = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.SERVER_AUTH]
    for ca in (units, authority):
        limits = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (limits.ca, limits.path_length) == (True, 0)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        pytest.param({"server-name": "Reads.City"}, 78, "small letters", id="capital letters"),
        pytest.param({"server-name": ""}, 78, "small letters", id="no name"),
        pytest.param({"address": "reads.city.example"}, 78, "literal address", id="a name"),
        pytest.param({"sealing-key": "none.pub"}, 78, "none.pub", id="no sealing key"),
        pytest.param({"port": "99999"}, 78, "--port: found 99999; expected 1 to 65535", id="port"),
        pytest.param({"port": "0"}, 78, "--port: found 0", id="no port"),
    ],
)
def test_a_wrong_argument_founds_nothing(tmp_path, opener, changes, code, said):
    done = init(tmp_path, opener, **changes)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "endpoint").exists()


def test_the_private_half_of_the_sealing_key_is_not_taken(tmp_path, opener):
    (tmp_path / "opening.key").write_bytes(encode_private_key(opener))
    done = init(tmp_path, opener, **{"sealing-key": tmp_path / "opening.key"})
    assert done.returncode == 77
    assert not (tmp_path / "endpoint").exists()


@pytest.mark.parametrize(("passphrase", "code"), [("long enough", 77), ("", 0)])
def test_the_key_of_an_office_is_no_sealing_key(tmp_path, opener, passphrase, code):
    signer = generate_signer()
    private = encode_protected_key(signer, passphrase) if passphrase else encode_private_key(signer)
    (tmp_path / "police.key").write_bytes(private)
    (tmp_path / "police.pub").write_bytes(signer.public_spki)
    done = init(tmp_path, opener, **{"sealing-key": tmp_path / "police.pub"})
    assert done.returncode == code, done.stderr
    assert ("police.key beside it is a key that somebody signs with" in done.stderr) == bool(code)


def test_an_endpoint_is_founded_once(tmp_path, opener):
    init(tmp_path, opener)
    before = {path: path.read_bytes() for path in (tmp_path / "endpoint").glob("*.*")}
    done = init(tmp_path, opener)
    assert (done.returncode, "something already" in done.stderr) == (78, True)
    assert {path: path.read_bytes() for path in (tmp_path / "endpoint").glob("*.*")} == before

"""The server's own certificate: until when it is good, and the next one for a pinned key."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from homeplate_endpoint.founding import Authority, issue_server
from homeplate_endpoint.issuing import load_certificate, load_key

from agent.base.errors import UplinkError
from agent.trust.heartbeat import POLICY_PATH
from agent.trust.policy import parse_policy
from agent.uplink import Uplink
from tests.endpoint.city import run_endpoint, serving
from tests.founded import SERVER_NAME, found

pytestmark = pytest.mark.slow


class Server:
    """A founded endpoint whose keys lie in a safe, with a policy that pins them."""

    def __init__(self, folder):
        self.city = found(folder)
        self.folder, self.safe = self.city.folder, folder / "safe"
        self.safe.mkdir()
        for name in ("spare.key", "server-ca.key", "server-ca.pem"):
            (self.folder / name).rename(self.safe / name)
        (self.folder / "server-ca.pem").write_bytes((self.safe / "server-ca.pem").read_bytes())
        self.city.publish(8443)
        (self.folder / "policy.bundle").write_bytes(self.city.policy.read_bytes())

    @property
    def config(self):
        return self.city.config

    def renew(self, *words, key="server-ca.key"):
        given = ("renew", "--config", self.config, "--ca-key", self.safe / key, *words)
        return run_endpoint("certificate", *given)

    def certificate(self):
        return load_certificate(self.folder / "server.pem")

    def grow_old(self):
        """Let the certificate be one that has ended."""
        authority = Authority(
            load_certificate(self.safe / "server-ca.pem"), load_key(self.safe / "server-ca.key")
        )
        before = self.certificate()
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        then = datetime.now(UTC) - timedelta(days=1100)
        key = load_key(self.folder / "server.key").public_key()
        old = issue_server(authority, key, names, server_name=SERVER_NAME, now=then)
        (self.folder / "server.pem").write_bytes(old.public_bytes(Encoding.PEM))

    def asks(self):
        """Ask as a unit does that has the policy and no certificate; return the status."""
        with serving(self.city) as running:
            policy = json.dumps(self.city.fields(running.port)).encode()
            endpoint = parse_policy(policy, place="policy").endpoint
            uplink = Uplink(endpoint, certificate=None, key=None, timeout_s=30)
            with closing(uplink):
                try:
                    uplink.exchange("GET", POLICY_PATH, limit_bytes=100)
                except UplinkError as error:
                    return str(error)
        return ""


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_units_go_on_with_the_next_certificate_for_the_same_key(server):
    server.grow_old()
    assert "certificate is not the city's" in server.asks()
    before = server.certificate()
    done = server.renew()
    assert done.returncode == 0, done.stderr
    after = server.certificate()
    assert after.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1000)
    assert after.public_key() == before.public_key()
    assert after.serial_number != before.serial_number
    assert "answered 401" in server.asks()


def test_units_go_on_with_the_spare_key(server):
    before = server.certificate()
    done = server.renew("--spare-key", server.safe / "spare.key")
    assert done.returncode == 0, done.stderr
    assert server.certificate().public_key() != before.public_key()
    assert (server.folder / "server.key").stat().st_mode & 0o777 == 0o600
    assert "answered 401" in server.asks()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("spare.key", "do not fit together"),
        ("none.key", "none.key"),
    ],
)
def test_another_ca_issues_nothing(server, key, found):
    before = (server.folder / "server.pem").read_bytes()
    done = server.renew(key=key)
    assert done.returncode in (77, 78)
    assert found in done.stderr
    assert (server.folder / "server.pem").read_bytes() == before


def test_a_key_that_the_policy_does_not_pin_gets_no_certificate(server):
    done = server.renew("--spare-key", server.folder / "receipt.key")
    assert done.returncode == 78
    assert "does not pin this key" in done.stderr


def test_a_dry_run_writes_nothing(server):
    before = (server.folder / "server.pem").read_bytes()
    assert "would be issued" in server.renew("--dry-run").stdout
    assert (server.folder / "server.pem").read_bytes() == before


def test_its_end_is_told_in_time(server):
    show = ("certificate", "show", "--config", server.config)
    assert "renew it" not in run_endpoint(*show).stdout
    server.grow_old()
    assert "renew it" in run_endpoint(*show).stdout

"""Nobody keeps the units out by being slow or many: connections and time are bounded."""

import socket
import ssl
import threading
from contextlib import ExitStack, closing
from hashlib import sha256

import pytest

from agent.trust.heartbeat import POLICY_PATH
from tests.certificates import SERVER_NAME
from tests.endpoint.city import found_city, serving

pytestmark = pytest.mark.slow
PATIENCE_S = 30
"""Until a connection that should have been cut is given up; it measures nothing."""
REQUEST = b"POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/cbor\r\n"


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    city = found_city(tmp_path_factory.mktemp("limits"))
    limits = "[limits]\nstrangers = 6\nstrangers_an_address = 3\nstranger_s = 1.0\n"
    limits += "connections_a_unit = 2\nrequest_s = 1.0\n"
    city.config.write_text(city.config.read_text() + limits)
    (city.folder / "policy.bundle").write_bytes(b"a policy")
    return city


@pytest.fixture(scope="module")
def port(city):
    with serving(city) as running:
        yield running.port


def connect(city, port, *, unit=None):
    """Return a TLS connection, with a unit's certificate or without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=city.authority.pem)
    if unit:
        context.load_cert_chain(*city.identity(unit).write(city.folder, f"{unit}-{id(context)}"))
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    return context.wrap_socket(plain, server_hostname=SERVER_NAME)


def is_cut(connection):
    """Wait until the other side has cut a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def ask(city, port, unit="unit-a"):
    """Ask for the policy, as units do."""
    with closing(city.uplink(port, unit)) as uplink:
        return uplink.exchange("GET", POLICY_PATH, limit_bytes=100).content


@pytest.mark.parametrize(
    "part", [b"", REQUEST[:9], REQUEST, REQUEST + b"content-length: 9\r\n\r\n1"]
)
@pytest.mark.parametrize("unit", [None, "unit-a"])
def test_whoever_is_slow_is_cut(city, port, part, unit):
    with connect(city, port, unit=unit) as connection:
        connection.sendall(part)
        assert is_cut(connection)
    assert ask(city, port) == b"a policy"


def test_a_drip_of_bytes_gains_no_time(city, port):
    with connect(city, port) as connection:
        ended = threading.Event()

        def drip():
            for letter in REQUEST * 100:
                try:
                    connection.sendall(bytes([letter]))
                except OSError:
                    return
                if ended.wait(0.1):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert is_cut(connection)
        finally:
            ended.set()
            dripping.join()


def test_strangers_in_numbers_do_not_keep_the_units_out(city, port):
    with ExitStack() as stack:
        many = [stack.enter_context(connect(city, port)) for _ in range(5)]
        assert ask(city, port) == b"a policy"
        assert all(map(is_cut, many))


def test_a_unit_has_few_connections_and_the_others_are_served(city, port):
    with ExitStack() as stack:
        own = [stack.enter_context(connect(city, port, unit="unit-a")) for _ in range(3)]
        assert ask(city, port, "unit-b") == b"a policy"
        assert all(map(is_cut, own))
    assert sha256(ask(city, port)).digest() == sha256(b"a policy").digest()


def test_what_was_cut_is_in_the_log(city, port):
    with connect(city, port) as connection:
        assert is_cut(connection)
    assert '"reason": "too slow"' in (city.folder / "stderr").read_text()

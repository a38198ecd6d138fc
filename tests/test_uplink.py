"""The one door: what goes through it, and that nothing goes to anyone but the city."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from agent.base.errors import CredentialError, RefusedError, UplinkError
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.policy import Endpoint
from agent.trust.uploads import Upload, decode_upload, idempotency_key
from agent.uplink import Uplink, _spki_of
from tests.certificates import LAST_YEAR, SERVER_NAME, Identity, issue, make_authority
from tests.tls_servers import (
    OK,
    Server,
    answering,
    dripping,
    listening,
    plain_listener,
    read_request,
    resetting,
    silent,
)

SECRET = b"sealed bytes that must not go astray"
UPLOAD = Upload(
    frames=(SECRET,),
    checkpoint="a note",
    previous_size=3,
    proof=(bytes(32),),
    segment="1780000000000-00000000-000000",
    places=((4, 5),),
    membership=(bytes(32),),
)
OPEN_FILES = Path("/proc/self/fd")
RECEIPT = UnverifiedReceipt(b"receipt")


@dataclass(frozen=True, slots=True)
class Town:
    """A city's CA, its endpoint's identity and a unit's credential files."""

    authority: Identity
    server: Identity
    certificate: Path
    key: Path
    folder: Path

    def endpoint(self, port: int, *, addresses: tuple[str, ...] = ("127.0.0.1",)) -> Endpoint:
        """Return the endpoint as the policy names it."""
        return Endpoint(
            addresses=addresses,
            port=port,
            server_name=SERVER_NAME,
            ca_pem=self.authority.pem,
            spki_pins=(self.server.pin,),
        )

    def uplink(self, port: int, *, timeout_s: float = 30, **where: tuple[str, ...]) -> Uplink:
        """Return the unit's uplink."""
        return Uplink(
            self.endpoint(port, **where),
            certificate=self.certificate,
            key=self.key,
            timeout_s=timeout_s,
        )

    def serve(self, handle, *, identity: Identity | None = None, **options) -> Server:
        """Return a server that wants client certificates of the city."""
        return Server(
            identity or self.server,
            client_authority=options.pop("client_authority", self.authority),
            handle=handle,
            folder=self.folder,
            **options,
        )


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Town:
    folder = tmp_path_factory.mktemp("town")
    authority = make_authority()
    server = issue(authority, "endpoint", server_name=SERVER_NAME)
    certificate, key = issue(authority, "unit-a").write(folder, "unit")
    return Town(authority, server, certificate, key, folder)


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def deliver(town: Town, server: Server, **options):
    uplink = town.uplink(server.port, **options)
    try:
        return uplink.deliver(UPLOAD)
    finally:
        uplink.close()


def test_an_upload_arrives_whole_and_its_answer_is_unverified(town):
    bodies = []

    def keep(secured, server):
        bodies.append(read_request(secured, server))
        secured.sendall(OK)

    with town.serve(keep) as server:
        assert deliver(town, server) == RECEIPT
    assert decode_upload(bodies[0]) == UPLOAD
    head = server.received.partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("post /v1/frames http/1.1")
    assert f"idempotency-key: {idempotency_key(UPLOAD.frames)}" in head
    assert "content-type: application/cbor" in head
    assert f"host: {SERVER_NAME}:{server.port}" in head


def test_an_unverified_receipt_hides_its_bytes_and_is_no_bytes(town):
    assert "receipt" not in repr(RECEIPT).replace("UnverifiedReceipt", "")
    assert not isinstance(RECEIPT, bytes)


def test_the_connection_is_kept_between_deliveries(town):
    with town.serve(answering(OK, OK, OK)) as server:
        uplink = town.uplink(server.port)
        assert [uplink.deliver(UPLOAD) for _ in range(3)] == [RECEIPT] * 3
        uplink.close()
    assert server.connections == 1


def test_a_connection_closed_meanwhile_is_opened_again(town):
    with town.serve(answering(OK)) as server:
        uplink = town.uplink(server.port)
        assert [uplink.deliver(UPLOAD) for _ in range(3)] == [RECEIPT] * 3
        uplink.close()
    assert server.connections == 3


def test_an_endpoint_that_closes_after_each_answer_is_called_again(town):
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with town.serve(answering(closing)) as server:
        uplink = town.uplink(server.port)
        assert [uplink.deliver(UPLOAD) for _ in range(2)] == [RECEIPT] * 2
        uplink.close()
    assert server.connections == 2


def test_a_certificate_that_cannot_be_read_is_an_uplink_error():
    with pytest.raises(UplinkError, match="cannot be read"):
        _spki_of(b"no certificate")


def test_the_next_address_is_tried_when_one_does_not_answer(town):
    with town.serve(answering(OK)) as server:
        addresses = ("127.0.0.2", "::1", "127.0.0.1")
        assert deliver(town, server, addresses=addresses) == RECEIPT


def test_another_log_position_is_told(town):
    body = b'{"error": "log-position", "detail": "", "known_size": 17}'
    with town.serve(answering(answer("412 Precondition Failed", body))) as server:
        assert deliver(town, server) == LogPosition(17)


def imposters() -> dict[str, tuple[str, str]]:
    return {
        "another name": ("wrong name", "its certificate is not the city's"),
        "an expired certificate": ("expired", "its certificate is not the city's"),
        "a certificate signed by itself": ("self-signed", "its certificate is not the city's"),
        "another CA": ("other CA", "its certificate is not the city's"),
        "the city's CA but another key": ("other key", "is not pinned in the policy"),
    }


def imposter(town: Town, kind: str) -> Identity:
    match kind:
        case "wrong name":
            return issue(town.authority, "endpoint", server_name="other.city.example")
        case "expired":
            return issue(town.authority, "e", server_name=SERVER_NAME, valid=LAST_YEAR)
        case "self-signed":
            return issue(None, "endpoint", server_name=SERVER_NAME)
        case "other CA":
            return issue(make_authority(), "endpoint", server_name=SERVER_NAME)
        case _:
            return issue(town.authority, "endpoint", server_name=SERVER_NAME)


@pytest.mark.parametrize(
    ("kind", "message"), [pytest.param(*case, id=name) for name, case in imposters().items()]
)
@pytest.mark.parametrize("asks", [True, False], ids=["asks for us", "asks for nobody"])
def test_an_imposter_receives_no_byte(town, kind, message, asks):
    options = {"identity": imposter(town, kind)}
    if not asks:
        options["client_authority"] = None
    with (
        town.serve(listening, **options) as server,
        pytest.raises(UplinkError, match=message) as caught,
    ):
        deliver(town, server)
    assert type(caught.value) is UplinkError
    assert server.connections == 1
    assert server.received == b""


def test_a_name_only_in_the_subject_does_not_count(town):
    identity = issue(town.authority, SERVER_NAME)
    with (
        town.serve(listening, identity=identity) as server,
        pytest.raises(UplinkError, match="not the city's"),
    ):
        deliver(town, server)
    assert server.received == b""


def test_tls_1_2_receives_no_byte(town):
    with (
        town.serve(listening, version=ssl.TLSVersion.TLSv1_2) as server,
        pytest.raises(UplinkError, match=r"TLS failed .*protocol version"),
    ):
        deliver(town, server)
    assert server.received == b""


def test_a_server_without_tls_receives_no_byte_of_a_body(town):
    with plain_listener() as (port, came), pytest.raises(UplinkError, match="not reached"):
        town.uplink(port).deliver(UPLOAD)
    assert all(SECRET not in content for content in came)


def test_nobody_there_is_an_uplink_error_that_names_the_address(town):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UplinkError, match=rf"{SERVER_NAME}:{port}: not reached \(127.0.0.1: conn"):
        town.uplink(port).deliver(UPLOAD)


def test_proxies_in_the_environment_are_not_asked(town, monkeypatch):
    with plain_listener() as (port, came), town.serve(answering(OK)) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{port}")
        assert deliver(town, server) == RECEIPT
    assert came == []


def test_session_keys_are_written_to_no_file(town, monkeypatch, tmp_path):
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with town.serve(answering(OK)) as server:
        assert deliver(town, server) == RECEIPT
    assert not keys.exists()


def test_no_name_is_resolved(town, monkeypatch):
    def refuse(*_):
        message = "a name was looked up"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with town.serve(answering(OK)) as server:
        assert deliver(town, server) == RECEIPT


@pytest.mark.parametrize(
    ("answered", "error", "message"),
    [
        pytest.param(
            answer("302 Found", b"", "Location: https://127.0.0.1/elsewhere"),
            UplinkError,
            "answered 302",
            id="a redirect",
        ),
        pytest.param(answer("204 No Content"), UplinkError, "answered 204", id="nothing"),
        pytest.param(
            answer("200 OK", b"x" * 20_000, "Content-Type: application/cbor"),
            UplinkError,
            "more than 16384 bytes",
            id="too much",
        ),
        pytest.param(
            answer("200 OK", b"<html>", "Content-Type: text/html"),
            UplinkError,
            "without a receipt",
            id="a web page",
        ),
        pytest.param(
            answer("200 OK", b"", "Content-Type: application/cbor"),
            UplinkError,
            "without a receipt",
            id="an empty receipt",
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", UplinkError, "SSH-2.0", id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
            UplinkError,
            "94 bytes of the answer are missing",
            id="cut short",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            UplinkError,
            "more than 100 headers",
            id="too many headers",
        ),
        pytest.param(
            answer("400 Bad Request", b'{"error": "malformed", "detail": "no CBOR"}'),
            RefusedError,
            "answered 400 malformed: no CBOR",
            id="malformed",
        ),
        pytest.param(
            answer("403 Forbidden", b'{"error": "unknown-unit", "detail": "not enrolled"}'),
            RefusedError,
            "answered 403 unknown-unit",
            id="unknown unit",
        ),
        pytest.param(answer("404 Not Found", b"[]"), RefusedError, "404 Not Found", id="4xx"),
        pytest.param(
            answer("409 Conflict", b'{"error": "fork\\n\\u001b[2J"}'),
            RefusedError,
            r"fork\?\?\[2J",
            id="control characters",
        ),
        pytest.param(answer("408 Timeout"), UplinkError, "answered 408", id="timeout"),
        pytest.param(
            answer("412 Precondition Failed", b'{"known_size": -1}'),
            RefusedError,
            "answered 412",
            id="a position that cannot be",
        ),
        pytest.param(answer("429 Too Many"), UplinkError, "answered 429", id="too many"),
        pytest.param(answer("500 Oh", b"\xff\xfe"), UplinkError, "answered 500 Oh", id="5xx"),
        pytest.param(answer("503 Busy"), UplinkError, "answered 503", id="busy"),
    ],
)
def test_every_other_answer_is_an_error_with_its_reason(town, answered, error, message):
    with town.serve(answering(answered)) as server, pytest.raises(error, match=message) as caught:
        deliver(town, server)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "handle", [pytest.param(silent, id="never"), pytest.param(dripping, id="a byte at a time")]
)
def test_an_answer_that_does_not_come_in_time_is_an_uplink_error(town, handle):
    with town.serve(handle) as server, pytest.raises(UplinkError, match="no answer in time"):
        deliver(town, server, timeout_s=0.2)


def test_a_reset_connection_is_an_uplink_error(town):
    with town.serve(resetting) as server, pytest.raises(UplinkError) as caught:
        deliver(town, server)
    assert not isinstance(caught.value, RefusedError)


def test_the_uplink_works_again_after_a_failure(town):
    with town.serve(answering(answer("503 Busy"), OK)) as server:
        uplink = town.uplink(server.port)
        with pytest.raises(UplinkError, match="503"):
            uplink.deliver(UPLOAD)
        assert uplink.deliver(UPLOAD) == RECEIPT
        uplink.close()


def test_a_city_that_does_not_know_our_certificate_is_a_matter_of_credentials(town):
    with (
        town.serve(listening, client_authority=make_authority("another")) as server,
        pytest.raises(CredentialError, match="does not accept this unit's certificate"),
    ):
        deliver(town, server)


def credential_faults(town: Town, folder: Path) -> dict[str, tuple[Path, Path]]:
    text = folder / "text"
    text.write_text("no PEM")
    other = issue(town.authority, "other").write(folder, "other")
    locked = folder / "locked.key"
    locked.write_bytes(
        issue(town.authority, "locked").key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return {
        "missing": (folder / "none", town.key),
        "no PEM": (text, town.key),
        "another key": (town.certificate, other[1]),
        "under a password": (town.certificate, locked),
    }


@pytest.mark.parametrize("fault", ["missing", "no PEM", "another key", "under a password"])
def test_a_wrong_client_certificate_stops_the_start(town, tmp_path, fault):
    certificate, key = credential_faults(town, tmp_path)[fault]
    with pytest.raises(CredentialError, match="expected the unit's client certificate"):
        Uplink(town.endpoint(1), certificate=certificate, key=key, timeout_s=1)


def test_a_ca_that_is_none_stops_the_start(town):
    endpoint = Endpoint(
        addresses=("127.0.0.1",), port=1, server_name="x", ca_pem="none", spki_pins=("",)
    )
    with pytest.raises(CredentialError, match="the policy's CA"):
        Uplink(endpoint, certificate=town.certificate, key=town.key, timeout_s=1)


def test_no_file_descriptor_is_left_behind(town):
    before = len(list(OPEN_FILES.iterdir()))
    with town.serve(listening, identity=imposter(town, "other key")) as server:
        for _ in range(3):
            with pytest.raises(UplinkError):
                deliver(town, server)
    assert len(list(OPEN_FILES.iterdir())) == before


def test_a_greeting_makes_sure_who_answers_and_says_nothing(town):
    with town.serve(listening) as server:
        uplink = town.uplink(server.port)
        assert uplink.greet() == "127.0.0.1"
        assert uplink.greet() == "127.0.0.1"
    assert (server.connections, server.received) == (2, b"")


def test_a_greeting_finds_out_that_the_city_does_not_take_the_certificate(town):
    stranger = make_authority("Another")
    with (
        town.serve(listening, client_authority=stranger) as server,
        pytest.raises(CredentialError, match="does not accept"),
    ):
        town.uplink(server.port).greet()


def test_a_greeting_to_another_key_ends_before_a_byte(town):
    other = issue(town.authority, "endpoint", server_name=SERVER_NAME)
    with (
        town.serve(listening, identity=other) as server,
        pytest.raises(UplinkError, match="not pinned"),
    ):
        town.uplink(server.port).greet()
    assert server.received == b""


def test_a_far_side_that_hangs_up_on_a_greeting_is_not_the_city_s(town):
    with town.serve(answering()) as server, pytest.raises(UplinkError):
        town.uplink(server.port).greet()

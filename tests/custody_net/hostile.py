"""Endpoints that are not the city's, or are and lie: one function a kind, for the table."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from agent.trust.frames import frame_hash
from agent.trust.keys import Signer, generate_signer
from agent.trust.merkle import node_hash
from agent.trust.notes import peek_checkpoint
from agent.trust.policy import Endpoint
from agent.trust.receipts import Receipt, sign_receipt
from agent.trust.uploads import decode_upload
from agent.uplink import Uplink
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

DAY = timedelta(days=1)
NEXT_MONTH = (30 * DAY, 60 * DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A city's CA, its endpoint's identity, its receipt key and a unit's credential files."""

    folder: Path
    certificate: Path
    key: Path
    receipts: Signer
    authority: Identity = field(default_factory=make_authority)
    server: Identity

    def uplink(self, port: int, *, timeout_s: float = 30) -> Uplink:
        """Return the unit's uplink, as the policy names the endpoint."""
        endpoint = Endpoint(
            addresses=("127.0.0.1",),
            port=port,
            server_name=SERVER_NAME,
            ca_pem=self.authority.pem,
            spki_pins=(self.server.pin,),
        )
        return Uplink(endpoint, certificate=self.certificate, key=self.key, timeout_s=timeout_s)

    def serve(self, handle, identity: Identity | None = None, **options) -> Server:
        """Return a server that holds `identity`, the true one unless told."""
        return Server(
            identity or self.server,
            client_authority=options.pop("client_authority", self.authority),
            handle=handle,
            folder=self.folder,
            **options,
        )


@dataclass(slots=True)
class Stage:
    """A hostile endpoint at work."""

    port: int
    body: Callable[[], bytes]
    """All bytes of requests that reached any hostile party."""
    timeout_s: float = 30


def found_town(folder: Path) -> Town:
    """Return a town whose files lie in `folder`."""
    authority = make_authority()
    certificate, key = issue(authority, "unit-a").write(folder, "unit")
    return Town(
        folder=folder,
        certificate=certificate,
        key=key,
        receipts=generate_signer(),
        authority=authority,
        server=issue(authority, "endpoint", server_name=SERVER_NAME),
    )


Act = Callable[[Town, bytes], "contextmanager[Stage]"]


def imposter(make: Callable[[Town], Identity], **options) -> Callable[..., Iterator[Stage]]:
    """Return a stage with a server that is not the city's."""

    @contextmanager
    def act(town: Town, _: bytes) -> Iterator[Stage]:
        with town.serve(listening, make(town), **options) as server:
            yield Stage(server.port, lambda: server.received)

    return act


def liar(handle, *, timeout_s: float = 30) -> Callable[..., Iterator[Stage]]:
    """Return a stage with the city's own key and a server that does as it likes."""

    @contextmanager
    def act(town: Town, old: bytes) -> Iterator[Stage]:
        with town.serve(handle) as server:
            yield Stage(server.port, lambda: server.received, timeout_s)

    return act


def signing(forge: Callable[[Town, Receipt, bytes], bytes]) -> Callable[..., Iterator[Stage]]:
    """Return a stage whose server answers with what `forge` makes of the true receipt.

    `forge` is given the town, the receipt that would be true and a receipt of an earlier upload.
    """

    @contextmanager
    def act(town: Town, old: bytes) -> Iterator[Stage]:
        def handle(secured: ssl.SSLSocket, server: Server) -> None:
            while body := read_request(secured, server):
                signed = forge(town, true_receipt(body), old)
                secured.sendall(answer("200 OK", signed, "Content-Type: application/cbor"))

        with town.serve(handle) as server:
            yield Stage(server.port, lambda: server.received)

    return act


def true_receipt(body: bytes) -> Receipt:
    """Return what an honest city would sign for a request."""
    upload = decode_upload(body)
    head = peek_checkpoint(upload.checkpoint)
    return Receipt(
        unit="u",
        frames=tuple(frame_hash(frame) for frame in upload.frames),
        log_size=head.size,
        log_root=head.root,
        time_ms=1_780_000_000_000,
    )


def changed(**changes) -> Callable[[Town, Receipt, bytes], bytes]:
    """Return a forger that signs, with the city's true key, a receipt with other fields."""

    def forge(town: Town, true: Receipt, _: bytes) -> bytes:
        fields = {name: getattr(true, name) for name in Receipt.__slots__}
        made = {name: make(true) for name, make in changes.items()}
        return sign_receipt(town.receipts, Receipt(**(fields | made)))

    return forge


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def plain(town: Town, _: bytes) -> Iterator[Stage]:
    """A server that speaks no TLS: it gets the beginning of a handshake and nothing of a body."""
    with plain_listener() as (port, came):
        yield Stage(port, lambda: b"".join(part for part in came if b"POST" in part))


@contextmanager
def deaf(town: Town, _: bytes) -> Iterator[Stage]:
    """A listener that takes the connection and never shakes hands."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Stage(listener.getsockname()[1], lambda: b"", 0.2)


@contextmanager
def nobody(town: Town, _: bytes) -> Iterator[Stage]:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield Stage(port, lambda: b"")


@contextmanager
def redirect(town: Town, _: bytes) -> Iterator[Stage]:
    """The city's key sends us elsewhere: what counts is what reaches the other place."""
    with plain_listener() as (port, came):
        elsewhere = f"Location: http://127.0.0.1:{port}/v1/frames"
        with town.serve(answering(answer("307 Temporary Redirect", b"", elsewhere))) as server:
            yield Stage(server.port, lambda: b"".join(came))


def _cert(*arguments, **options) -> Callable[[Town], Identity]:
    return lambda town: issue(town.authority, *arguments, **options)


NOT_THE_CITY: dict[str, object] = {
    "wrong name": imposter(_cert("endpoint", server_name="other.city.example")),
    "name only in the subject": imposter(_cert(SERVER_NAME)),
    "wildcard name with another key": imposter(_cert("e", server_name="*.city.example")),
    "a unit's certificate as a server's": imposter(_cert("unit-b")),
    "expired": imposter(_cert("e", server_name=SERVER_NAME, valid=LAST_YEAR)),
    "not yet valid": imposter(_cert("e", server_name=SERVER_NAME, valid=NEXT_MONTH)),
    "self-signed": imposter(lambda _: issue(None, "endpoint", server_name=SERVER_NAME)),
    "another, public CA": imposter(
        lambda _: issue(make_authority("Public CA"), "endpoint", server_name=SERVER_NAME)
    ),
    "a CA of the same name": imposter(
        lambda _: issue(make_authority(), "endpoint", server_name=SERVER_NAME)
    ),
    "same CA with another key": imposter(_cert("endpoint", server_name=SERVER_NAME)),
    "same CA, another key, asks for nobody": imposter(
        _cert("endpoint", server_name=SERVER_NAME), client_authority=None
    ),
    "TLS 1.2": imposter(lambda town: town.server, version=ssl.TLSVersion.TLSv1_2),
    "no TLS": plain,
    "a handshake that never ends": deaf,
    "nobody there": nobody,
    "redirect": redirect,
}
"""By name: who must receive no byte of a body."""

THE_CITY_LYING: dict[str, object] = {
    "slow-loris answer": liar(dripping, timeout_s=0.2),
    "no answer": liar(silent, timeout_s=0.2),
    "connection reset": liar(resetting),
    "oversized answer": liar(
        answering(answer("200 OK", b"x" * 20_000, "Content-Type: application/cbor"))
    ),
    "malformed answer": liar(answering(OK)),
    "not HTTP": liar(answering(b"SSH-2.0-OpenSSH\r\n\r\n")),
    "a web page": liar(answering(answer("200 OK", b"<html>", "Content-Type: text/html"))),
    "204 without a receipt": liar(answering(answer("204 No Content"))),
    "asks for another part of the log for ever": liar(
        answering(*[answer("412 Precondition Failed", b'{"known_size": 1}')] * 9)
    ),
    "claims to have seen an enormous log": liar(
        answering(answer("412 Precondition Failed", b'{"known_size": 9223372036854775807}'))
    ),
    "claims to have seen one entry more": liar(
        answering(answer("412 Precondition Failed", b'{"known_size": 6}'))
    ),
    "receipt signed by another key": signing(
        lambda _, true, __: sign_receipt(generate_signer(), true)
    ),
    "receipt for other frames": signing(changed(frames=lambda _: (bytes(32),))),
    "receipt for fewer frames": signing(
        changed(frames=lambda true: true.frames[1:] or (bytes(32),))
    ),
    "receipt for one frame more": signing(changed(frames=lambda true: (*true.frames, bytes(32)))),
    "receipt for the frames in another order": signing(
        changed(frames=lambda true: true.frames[::-1] if len(true.frames) > 1 else (bytes(32),))
    ),
    "receipt for another unit": signing(changed(unit=lambda _: "unit-b")),
    "receipt with an older log size": signing(changed(log_size=lambda _: 1)),
    "receipt for the empty log": signing(changed(log_size=lambda _: 0)),
    "receipt with a log size that was never sent": signing(
        changed(log_size=lambda true: true.log_size + 1)
    ),
    "receipt with an enormous log size": signing(changed(log_size=lambda _: (1 << 63) - 1)),
    "receipt with another root": signing(changed(log_root=lambda _: bytes(32))),
    "receipt with the root of the next size": signing(
        changed(log_root=lambda true: node_hash(true.log_root, bytes(32)))
    ),
    "old receipt replayed": signing(lambda *given: given[2]),
    "receipt cut short": signing(lambda town, true, _: sign_receipt(town.receipts, true)[:-1]),
    "receipt with a byte after it": signing(
        lambda town, true, _: sign_receipt(town.receipts, true) + b"\0"
    ),
}
"""By name: who may see sealed bytes, and must not bring about a deletion."""

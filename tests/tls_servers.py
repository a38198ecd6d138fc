"""Servers on loopback, honest and hostile, that remember what reached them."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.certificates import Identity

Handler = Callable[[ssl.SSLSocket, "Server"], None]
JOIN_LIMIT_S = 30
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nContent-Length: 7\r\n\r\nreceipt"


class Server:
    """One thread that takes connections one after the other.

    Args:
        identity: Its certificate and key.
        client_authority: Whose client certificates it wants; None = it asks for none.
        handle: What it does with each connection.
        folder: For its key files.
        version: The newest TLS that it speaks.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        client_authority: Identity | None,
        handle: Handler,
        folder: Path,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.received = b""
        """Every byte above TLS that reached it."""
        self.connections = 0
        self.ended = threading.Event()
        """Set when the test is over: what a slow server waits for."""
        self._handle = handle
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = version
        self._context.load_cert_chain(*identity.write(folder, "server"))
        if client_authority is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(cadata=client_authority.pem)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(JOIN_LIMIT_S)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with plain, contextlib.suppress(OSError):
                plain.settimeout(JOIN_LIMIT_S)
                with self._context.wrap_socket(plain, server_side=True) as secured:
                    self._handle(secured, self)


def read_request(secured: ssl.SSLSocket, server: Server) -> bytes:
    """Return the body of one request; empty when the other side has gone."""
    content = b""
    while b"\r\n\r\n" not in content:
        chunk = secured.recv(65_536)
        if not chunk:
            return b""
        server.received += chunk
        content += chunk
    head, _, body = content.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        chunk = secured.recv(65_536)
        server.received += chunk
        body += chunk
    return body


def answering(*answers: bytes) -> Handler:
    """Return a handler that gives these answers to one request each, then closes."""

    def handle(secured: ssl.SSLSocket, server: Server) -> None:
        for answer in answers:
            if not read_request(secured, server):
                return
            secured.sendall(answer)

    return handle


def listening(secured: ssl.SSLSocket, server: Server) -> None:
    """Take whatever comes and say nothing."""
    while chunk := secured.recv(65_536):
        server.received += chunk


def dripping(secured: ssl.SSLSocket, server: Server) -> None:
    """Answer with a header line that never ends, a byte at a time."""
    read_request(secured, server)
    secured.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not server.ended.wait(0.01):
        secured.sendall(b"x")


def silent(secured: ssl.SSLSocket, server: Server) -> None:
    """Take the request and never answer."""
    read_request(secured, server)
    server.ended.wait()


def resetting(secured: ssl.SSLSocket, server: Server) -> None:
    """Cut the connection after the request, without a word."""
    read_request(secured, server)
    secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@contextlib.contextmanager
def plain_listener() -> Iterator[tuple[int, list[bytes]]]:
    """Give a port where nothing speaks TLS, and what came there."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        came.append(connection.recv(65_536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], came
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(JOIN_LIMIT_S)

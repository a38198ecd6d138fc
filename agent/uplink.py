"""The only door out: one connection to the city's endpoint, as the policy names it.

No names are resolved, no environment is read, no proxy or redirect is followed. The endpoint must
show a certificate of the city's own CA with the policy's name and a pinned key; until it has, not
one byte of a request is sent.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from agent import __version__
from agent.base.errors import CredentialError, UplinkError
from agent.trust.answers import (
    GOOD_STATUS,
    MEDIA_TYPE,
    Answer,
    LogPosition,
    UnverifiedReceipt,
    judge_delivery,
    refusal,
)
from agent.trust.policy import Endpoint
from agent.trust.receipts import RECEIPT_LIMIT_BYTES
from agent.trust.uploads import Upload, encode_upload, idempotency_key

PATH: Final = "/v1/frames"
OBJECTION_S: Final = 1.0
_CERTIFICATE_ALERT: Final = re.compile("ALERT_.*(CERT|UNKNOWN_CA|ACCESS_DENIED)")


class Uplink:
    """Delivers to the city's endpoint over one connection, which is kept open between calls.

    Args:
        endpoint: Of the policy.
        certificate: PEM file with the unit's client certificate; None = the unit has none yet.
        key: PEM file with its private key; None = as above.
        timeout_s: For connecting, for each step of sending, and for the whole answer.

    Raises:
        CredentialError: The client certificate or key is missing, or they do not fit together.
    """

    def __init__(
        self, endpoint: Endpoint, *, certificate: Path | None, key: Path | None, timeout_s: float
    ) -> None:
        context = _make_context(endpoint, certificate, key)
        self._connection = _Connection(endpoint, context, timeout_s)

    def deliver(self, upload: Upload, /) -> UnverifiedReceipt | LogPosition:
        """Hand over sealed frames; see `agent.pipeline.collector`."""
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Accept": MEDIA_TYPE,
            "Idempotency-Key": idempotency_key(upload.frames),
        }
        request = _Request(
            method="POST",
            path=PATH,
            body=encode_upload(upload),
            headers=headers,
            limit_bytes=RECEIPT_LIMIT_BYTES,
        )
        return judge_delivery(self._ask(request), self._connection.place)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        limit_bytes: int,
    ) -> Answer:
        """Ask the endpoint for something else than a receipt, on the same connection.

        Safe to call again: a request may arrive twice when the connection breaks.

        Args:
            method: GET or POST.
            path: Of the endpoint, for example /v1/policy.
            body: Sent as it is.
            headers: With the media type of the body.
            limit_bytes: More of an answer is not read.

        Raises:
            UplinkError: It was not reached or its answer is not whole; safe to try again.
            RefusedError: The city refuses.
            CredentialError: The city does not accept this unit's certificate.
        """
        request = _Request(
            method=method,
            path=path,
            body=body,
            headers=dict(headers or {}),
            limit_bytes=limit_bytes,
        )
        answer = self._ask(request)
        if answer.status not in GOOD_STATUS:
            raise refusal(answer, self._connection.place)
        return answer

    def greet(self) -> str:
        """Connect, make sure who answers, say nothing, and return the address that was reached.

        Raises:
            UplinkError: No address has the city's endpoint.
            CredentialError: The city does not accept this unit's certificate.
        """
        connection = self._connection
        self.close()
        try:
            connection.connect()
            connection.await_objection()
            address, *_ = connection.sock.getpeername() if connection.sock else ("",)
        except OSError as error:
            raise _network_error(error, connection.place) from error
        finally:
            self.close()
        return str(address)

    def close(self) -> None:
        """Give the connection up; the next delivery opens another."""
        self._connection.close()

    def _ask(self, request: "_Request") -> Answer:
        """Return the answer, whatever its status."""
        kept_open = self._connection.sock is not None
        try:
            return self._try(request)
        except ClosedMeanwhileError:
            if not kept_open:
                raise
        return self._try(request)

    def _try(self, request: "_Request") -> Answer:
        connection = self._connection
        headers = {"User-Agent": f"homeplate/{__version__}", **request.headers}
        try:
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                # Cut off: it may have said why.
                connection.request(request.method, request.path, request.body or None, headers)
            connection.await_answer()
            with connection.getresponse() as response:
                content = _read_answer(response, connection.place, request.limit_bytes)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _network_error(error, connection.place) from error
        except BaseException:
            self.close()
            raise
        if response.will_close:
            self.close()
        found = {name.lower(): value for name, value in response.headers.items()}
        reason = response.reason
        return Answer(status=response.status, reason=reason, content=content, headers=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What is asked."""

    method: str
    path: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    limit_bytes: int
    """Of the answer."""


class ClosedMeanwhileError(UplinkError):
    """The endpoint had closed the connection before it took the request."""


class _TimedSocket(ssl.SSLSocket):
    """Has a last moment for an answer, however slowly its bytes drip."""

    answer_by_s: float | None = None
    """On the monotonic clock."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:  # noqa: ANN401 -- as declared by ssl
        """Receive within what is left of the time."""
        if self.answer_by_s is not None:
            self.settimeout(max(self.answer_by_s - time.monotonic(), 0.001))
        return super().recv_into(buffer, nbytes, flags)


class _Connection(http.client.HTTPConnection):
    """HTTP/1.1 over TLS 1.3 to a literal address, with a pinned key."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, timeout_s: float) -> None:
        super().__init__(endpoint.server_name, endpoint.port, timeout=timeout_s)
        self._endpoint = endpoint
        self._context = context
        self._pins = tuple(b64decode(pin) for pin in endpoint.spki_pins)
        self._timeout_s = timeout_s
        self.sock: _TimedSocket | None = None
        self.place = f"the city's endpoint {endpoint.server_name}:{endpoint.port}"

    def connect(self) -> None:
        """Open the connection to the first address that is the city's endpoint.

        Raises:
            UplinkError: None is; the message says what was found at each.
        """
        failures: list[str] = []
        for address in self._endpoint.addresses:
            try:
                self.sock = self._secure(address)
            except (OSError, UplinkError) as error:
                failures.append(f"{address}: {_describe(error)}")
            else:
                return
        message = f"{self.place}: not reached ({'; '.join(failures)})"
        raise UplinkError(message)

    def await_answer(self) -> None:
        """Start the time that the answer may take."""
        if self.sock is not None:
            self.sock.answer_by_s = time.monotonic() + self._timeout_s

    def await_objection(self) -> None:
        """Give the far side a moment to refuse the unit's certificate: in TLS 1.3 it says so late.

        Raises:
            OSError: It refuses, or closes the connection.
        """
        if self.sock is not None:
            self.sock.settimeout(min(OBJECTION_S, self._timeout_s))
            with suppress(TimeoutError):
                if not self.sock.recv(1):
                    raise ConnectionResetError

    def send(self, data: Any) -> None:  # noqa: ANN401 -- as declared by http.client
        """Send a part of the request, each step within the timeout."""
        if self.sock is not None:
            self.sock.answer_by_s = None
            self.sock.settimeout(self._timeout_s)
        super().send(data)

    def _secure(self, address: str) -> _TimedSocket:
        """Return a connection to the holder of a pinned key."""
        plain = _connect_plain(address, self._endpoint.port, self._timeout_s)
        try:
            secured = self._context.wrap_socket(plain, server_hostname=self._endpoint.server_name)
        except BaseException:
            plain.close()
            raise
        try:
            _require_pin(secured, self._pins)
        except BaseException:
            secured.close()
            raise
        return secured  # type: ignore[return-value]  # of the context's sslsocket_class


def _make_context(endpoint: Endpoint, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return TLS 1.3 with the city's CA alone.

    Not `ssl.create_default_context`, which trusts the system's CAs and writes session keys to the
    file that SSLKEYLOGFILE names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.hostname_checks_common_name = False
    context.sslsocket_class = _TimedSocket
    try:
        context.load_verify_locations(cadata=endpoint.ca_pem)
    except ssl.SSLError as error:
        message = f"the policy's CA: {_describe(error)}; expected certificates, PEM"
        raise CredentialError(message) from error
    if certificate is None:
        return context
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        message = (
            f"{certificate}, {key}: {_describe(error)}; "
            "expected the unit's client certificate and its private key, PEM, no password"
        )
        raise CredentialError(message) from error
    return context


def _no_password() -> str:
    """Stand in for the question that OpenSSL would ask at the terminal."""
    return ""


def _connect_plain(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect without any name being resolved."""
    version = ipaddress.ip_address(address).version
    plain = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)  # noqa: PLR2004 -- IPv4
    try:
        plain.settimeout(timeout_s)
        plain.connect((address, port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        plain.close()
        raise
    return plain


def is_let_out(address: str, port: int, *, timeout_s: float) -> bool:
    """Try to reach a place that is none of ours; tell whether the system lets that happen.

    Where a packet filter holds, the kernel refuses an empty datagram and loses the first packet of
    a connection. No answer and no route are no way out; a refusal is an answer.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind) as probe:
                probe.settimeout(timeout_s)
                probe.connect((address, port))
                probe.send(b"")
        except ConnectionRefusedError:
            return True
        except OSError:
            continue
        return True
    return False


def _require_pin(secured: ssl.SSLSocket, pins: tuple[bytes, ...]) -> None:
    """Make sure that the far side holds a key that the policy pins."""
    found = sha256(_spki_of(secured.getpeercert(binary_form=True) or b"")).digest()
    if found not in pins:
        message = f"its key {found.hex()[:16]}… is not pinned in the policy"
        raise UplinkError(message)


def _spki_of(certificate: bytes) -> bytes:
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
        return public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        message = "its certificate cannot be read"
        raise UplinkError(message) from error


def _read_answer(response: http.client.HTTPResponse, place: str, limit_bytes: int) -> bytes:
    """Return the body of an answer; more than the limit is not read."""
    content = response.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        message = f"{place}: answered more than {limit_bytes} bytes; expected less"
        raise UplinkError(message)
    if response.length:
        message = f"{place}: {response.length} bytes of the answer are missing"
        raise UplinkError(message)
    return content


def _network_error(error: Exception, place: str) -> UplinkError | CredentialError:
    """Turn what went wrong after connecting into ours."""
    closed = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
    message = f"{place}: {_describe(error)}"
    if isinstance(error, ssl.SSLError) and _CERTIFICATE_ALERT.search(error.reason or ""):
        return CredentialError(f"{message}; it does not accept this unit's certificate")
    if isinstance(error, (*closed, ssl.SSLEOFError)):
        message = f"{place}: closed the connection without an answer; if it goes on, see "
        message += "whether this unit's certificate is the one that the city issued"
        return ClosedMeanwhileError(message)
    return UplinkError(message)


def _describe(error: Exception) -> str:
    """Return in a few words what happened, whatever the exception's own text."""
    match error:
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not the city's ({error.verify_message})"
        case ssl.SSLError():
            text = f"TLS failed ({(error.reason or 'unknown').replace('_', ' ').lower()})"
        case TimeoutError():
            text = "no answer in time"
        case OSError(strerror=str(reason)):
            text = reason.lower()
        case _:
            text = str(error) or type(error).__name__
    return text

"""Who is on the other end of a connection: what its client certificate says.

uvicorn checks the certificate but does not hand it to the application; a small subclass of its
protocol does, as the ASGI extension `tls` asks (https://asgi.readthedocs.io/en/latest/specs/tls.html).
"""

import asyncio
import ssl
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
_PEER: Final = "homeplate_peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A client certificate of the units' CA, valid now; TLS has checked both."""

    name: str
    """Its one common name; empty where there are none or several."""
    serial: int


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that tells the application whose certificate it is."""

    peer: Peer | None = None
    """Who is on the other end, once the connection is there; None = nobody that we know."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wrap this connection's application."""
        super().connection_made(transport)
        application, peer = self.app, _read_peer(transport.get_extra_info("ssl_object"))
        self.peer = peer

        async def with_peer(scope: Scope, receive: Any, send: Any) -> None:  # noqa: ANN401 -- ASGI
            extensions = {**(scope.get("extensions") or {}), _PEER: peer}
            await application({**scope, "extensions": extensions}, receive, send)

        self.app = with_peer


def find_peer(scope: Scope) -> Peer | None:
    """Return what the client certificate says; None when the client showed none."""
    peer = scope.get("extensions", {}).get(_PEER)
    return peer if isinstance(peer, Peer) else None


def _read_peer(secured: ssl.SSLObject | None) -> Peer | None:
    content = secured.getpeercert(binary_form=True) if secured else None
    if not content:
        return None
    certificate = x509.load_der_x509_certificate(content)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if len(names) == 1 else ""
    return Peer(name=name, serial=certificate.serial_number)

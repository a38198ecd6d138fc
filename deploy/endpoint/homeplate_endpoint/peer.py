"""Who is on the other end of a connection: the name in its client certificate.

uvicorn checks the certificate but does not hand it to the application; a small subclass of its
protocol does, as the ASGI extension `tls` asks (https://asgi.readthedocs.io/en/latest/specs/tls.html).
"""

import asyncio
import ssl
from collections.abc import MutableMapping
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that tells the application whose certificate it is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wrap this connection's application."""
        super().connection_made(transport)
        application, name = self.app, _common_name(transport.get_extra_info("ssl_object"))

        async def with_peer(scope: Scope, receive: Any, send: Any) -> None:  # noqa: ANN401 -- ASGI
            extensions = scope.get("extensions") or {}
            tls = {"client_cert_name": name}
            await application({**scope, "extensions": {**extensions, "tls": tls}}, receive, send)

        self.app = with_peer


def peer_name(scope: Scope) -> str:
    """Return the common name in the client certificate; empty when there is none."""
    name = scope.get("extensions", {}).get("tls", {}).get("client_cert_name", "")
    return str(name)


def _common_name(secured: ssl.SSLObject | None) -> str:
    """Return the certificate's one common name, nothing where there are none or several."""
    content = secured.getpeercert(binary_form=True) if secured else None
    if not content:
        return ""
    subject = x509.load_der_x509_certificate(content).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""

"""The server: uvicorn with mutual TLS 1.3 on a socket that is bound before anything is said."""

import ipaddress
import socket
import ssl
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from agent.base.errors import ConfigError, CredentialError
from homeplate_endpoint.config import TlsFiles
from homeplate_endpoint.peer import PeerProtocol


class Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if self.started:
            self._announce()


def make_server(app: Starlette, tls: ssl.SSLContext, announce: Callable[[], None]) -> Server:
    """Return the server of one process."""
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    config.load()
    config.ssl = tls
    return Server(config, announce)


def make_tls(files: TlsFiles) -> ssl.SSLContext:
    """Return TLS 1.3 that asks every client for a certificate of the units' CA.

    A client may have none (it enrols): what it may do then is decided per route. One that shows a
    certificate of another CA, or one out of its time, gets no further than the handshake.

    Raises:
        CredentialError: A file is missing, is not PEM, or key and certificate do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        context.load_cert_chain(files.certificate, files.key, password=str)
    except (OSError, ssl.SSLError) as error:
        message = f"{files.certificate}, {files.key}: {error}; expected certificate and its key"
        raise CredentialError(message) from error
    try:
        context.load_verify_locations(files.client_ca)
    except (OSError, ssl.SSLError) as error:
        message = f"{files.client_ca}: {error}; expected the CA of the units, PEM"
        raise CredentialError(message) from error
    return context


def bind(address: str, port: int) -> socket.socket:
    """Return a socket bound to a literal address.

    Raises:
        ConfigError: The address is none of this machine's, or the port is taken.
    """
    try:
        version = ipaddress.ip_address(address).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004 -- IPv4
        # With the protocol named: asyncio sets TCP_NODELAY only where it sees it, and without it
        # every answer waits 40 ms for the other side's delayed acknowledgement.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except (OSError, ValueError) as error:
        message = f"listen {address} port {port}: {error}; expected a free port of this machine"
        raise ConfigError(message) from error
    return bound

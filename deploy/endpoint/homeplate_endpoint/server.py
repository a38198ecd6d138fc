"""The server: uvicorn with mutual TLS 1.3 on a socket that is bound before anything is said."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from agent.base.errors import ConfigError, CredentialError
from homeplate_endpoint.config import TlsFiles
from homeplate_endpoint.limits import HANDSHAKE_S, BoundedProtocol, Limits


class Server(uvicorn.Server):
    """Holds to limits, and tells when it listens."""

    def __init__(
        self, config: uvicorn.Config, limits: Limits, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._limits, self._announce = limits, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell.

        In the place of uvicorn's own, which has no limit of time for a TLS handshake.
        """
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._make_protocol,
                sock=bound,
                ssl=self.config.ssl,
                ssl_handshake_timeout=HANDSHAKE_S,
                backlog=self.config.backlog,
            )
            for bound in sockets or ()
        ]
        self.started = True
        self._announce()

    def _make_protocol(self) -> BoundedProtocol:
        return BoundedProtocol(
            self._limits,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )


def make_server(
    app: Starlette, tls: ssl.SSLContext, limits: Limits, announce: Callable[[], None]
) -> Server:
    """Return the server of one process."""
    config = uvicorn.Config(
        app,
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
    return Server(config, limits, announce)


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

"""What reaches behind the public names of uvicorn: its server's start, the set of its connections, and its end.

Tried with uvicorn 0.34.0 and 0.54.0. Of HTTP and WebSocket nothing is uvicorn's: connections are ours from the first
byte (:mod:`watcher.relay.accept`), and know of the server only what :class:`ServerState` says. Where a release has no
:meth:`Server.startup`, it listens itself, with its own time-outs, and a relay that is to speak TLS doesn't start. Where
it has another way to handle signals, it ends at the first one, without the relay's drain. :data:`MEMBERS` names what is
needed; tests/relay/http/test_uvicorn.py fails by the name of what a release lacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

import uvicorn
from starlette.types import ASGIApp

from watcher.relay.limits.open_files import ARRIVING
from watcher.relay.security.tls import Certificate

__all__ = ["MEMBERS", "Config", "Server", "ServerState", "config"]

#: A client that doesn't finish the TLS handshake by then is dropped, in seconds …
_HANDSHAKE: Final = 10.0
#: … and one that doesn't take part in the end of TLS.
_CLOSING: Final = 3.0
#: Answers that are under way at the end have so long, in seconds.
_GRACE: Final = 2

#: All that is needed of uvicorn's objects, and not documented: their class, and the member.
MEMBERS: Final = (
    ("Server", "capture_signals"),
    ("Server", "server_state"),
    ("Server", "startup"),
    ("Server", "started"),
    ("ServerState", "connections"),
    ("ServerState", "default_headers"),
    ("ServerState", "tasks"),
    ("ServerState", "total_requests"),
    ("Config", "http_protocol_class"),
    ("Config", "loaded_app"),
    ("Config", "ws_protocol_class"),
)

Config = uvicorn.Config


class ServerState(Protocol):
    """Of a server, what a connection knows.

    ``connections``: those that are open; a server that stops calls ``shutdown()`` on each, and waits until none is
    left. ``tasks``: what is under way for them, which is waited for, and cancelled at last. ``default_headers``: of
    every answer.
    """

    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    default_headers: list[tuple[bytes, bytes]]
    total_requests: int


def config(
    app: ASGIApp,
    *,
    websocket: Callable[..., asyncio.Protocol],
    http: Callable[..., asyncio.Protocol],
    root_path: str,
    idle_timeout: int,
) -> Config:
    """What a server is made from.

    :param http: makes the protocol of a connection that was accepted; ``websocket``: of one that becomes a WebSocket.
    :param idle_timeout: how long a connection stays without a request, in seconds.
    """
    factories: dict[str, Any] = {"ws": websocket, "http": http}  # factories serve; uvicorn's types say classes
    return Config(
        app,
        **factories,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        root_path=root_path,
        timeout_keep_alive=idle_timeout,
        timeout_graceful_shutdown=_GRACE,
    )


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever serves says when to stop.

    :param certificate: None where it speaks no TLS.
    :param handshake: seconds that a client has for the handshake of TLS.
    :raises RuntimeError: there is a certificate, and this uvicorn would listen without it.
    """

    def __init__(self, config: Config, certificate: Certificate | None = None, handshake: float = _HANDSHAKE) -> None:
        super().__init__(config)
        if certificate is not None and not hasattr(uvicorn.Server, "startup"):
            raise RuntimeError(f"uvicorn {uvicorn.__version__} has no Server.startup, by which TLS is served")
        self._certificate = certificate
        self._handshake = handshake

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets.

        uvicorn's own leaves asyncio its minute for a TLS handshake, and half of one for the end of a connection. And
        asyncio accepts as many in one turn of its loop as the kernel keeps: where files run out, each of them is a
        traceback in the log, and whoever is served waits for it.
        """
        tls: dict[str, Any] = {}
        if self._certificate is not None:
            times = {"ssl_handshake_timeout": self._handshake, "ssl_shutdown_timeout": _CLOSING}
            tls = {"ssl": self._certificate.context, **times}
        protocol: Any = self.config.http_protocol_class
        make = functools.partial(protocol, config=self.config, server_state=self.server_state, app_state={})
        loop = asyncio.get_running_loop()
        self.servers = []
        for sock in sockets or []:
            self.servers.append(await loop.create_server(make, sock=sock, backlog=ARRIVING, **tls))
            sock.listen(self.config.backlog)  # the kernel keeps as many as before
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield

"""An identity proxy: whoever is logged in at it, by a cookie, is named to the relay behind it, in a header."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from urllib.parse import urlsplit

HEADER = "X-User"
_COOKIE = re.compile(rb"^cookie:.*\bsession=(\w+)", re.IGNORECASE | re.MULTILINE)
_DROPPED = re.compile(rb"^(?:x-user|connection: keep-alive)\b[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


class Proxy(ThreadingTCPServer):
    """One request a connection, which is then the relay's, WebSockets included.

    :ivar named: request lines of those who were logged in.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, relay: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.relay = (urlsplit(relay).hostname, urlsplit(relay).port)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.named: list[str] = []


class _Handler(BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(65536)
            if not piece:
                return
            head += piece
        line, _, rest = head.partition(b"\r\n")
        if line.startswith(b"GET /login/"):
            user = line.split()[1].removeprefix(b"/login/")
            answer = b"HTTP/1.1 303 See Other\r\nSet-Cookie: session=%s; HttpOnly; Path=/\r\nLocation: /\r\n" % user
            self.request.sendall(answer + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            return
        who = _COOKIE.search(rest)
        told = b""
        if who is not None:
            self.server.named.append(line.decode())
            told = HEADER.encode() + b": " + who[1] + b"\r\n"
        if b"\r\nupgrade:" not in rest.lower():
            told += b"Connection: close\r\n"
        with socket.create_connection(self.server.relay) as relay:
            relay.sendall(line + b"\r\n" + told + _DROPPED.sub(b"", rest))
            back = Thread(target=_pipe, args=(relay, self.request))
            back.start()
            _pipe(self.request, relay)
            back.join()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR if end is source else socket.SHUT_WR)


@contextmanager
def proxy(relay: str) -> Iterator[Proxy]:
    """A proxy before this relay, for the time of a `with` block."""
    with Proxy(relay) as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving
        finally:
            serving.shutdown()
            thread.join()

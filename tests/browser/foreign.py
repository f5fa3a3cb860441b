"""A web site that is not the relay's: pages of its own on another port of this machine, and a strict policy (CSP)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Site(ThreadingHTTPServer):
    """What it has to give, by path; everything may be changed while it runs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.policy = "default-src 'none'"
        self.paths: dict[str, str | Callable[[], str]] = {}
        self.asked: list[str] = []

    def trust(self, relay: str) -> None:
        """Let the site's pages use a relay: its script, and connections to it; no inline script or style, no markup."""
        socket = relay.replace("http", "ws", 1)
        self.policy = (
            f"default-src 'none'; script-src 'self' {relay}; connect-src 'self' {relay} {socket}; "
            "img-src data:; require-trusted-types-for 'script'"
        )


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found = self.server.paths.get(self.path)
        body = (found() if callable(found) else found or "").encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site() -> Iterator[Site]:
    """A site on a free port, for the time of a `with` block."""
    with Site() as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving
        finally:
            serving.shutdown()
            thread.join()

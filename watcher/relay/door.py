"""What every HTTP request passes before it is looked at: its path, its Host, its Origin, and what browsers are told.

An ASGI application around another, so that what goes wrong inside is told with the same headers.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher.errors import TooMany
from watcher.relay.access import host_refusal, origin_refusal
from watcher.relay.counts import Counts
from watcher.relay.limits import Limits
from watcher.relay.peers import peer
from watcher.relay.problems import problem, refused
from watcher.settings import Settings

__all__ = ["ALWAYS", "CLIENT", "Door"]

logger = logging.getLogger(__name__)

#: What the page may do (CSP Level 3; ``'self'`` in connect-src covers the WebSocket at the page's own host and port).
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: What every answer says.
ALWAYS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Under this name a request's scope has the address of the client, behind all trusted proxies; empty where it has none.
CLIENT: Final = "watcher.client"
#: Load balancers ask these by address, and they say nothing about anybody.
_ANY_HOST: Final = frozenset(("/healthz", "/readyz"))
_METHODS: Final = "GET, POST"
_ASKED: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
_TOLD: Final = "Location, Preference-Applied, Retry-After, Watcher-Epoch, Watcher-Offset"
_PREFLIGHT_SECONDS: Final = "600"


class Door:
    """Lets in whom :mod:`watcher.relay.access` allows, answers preflights (CORS), and counts the answers."""

    def __init__(self, app: ASGIApp, settings: Settings, counts: Counts, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._settings = settings
        self._counts = counts
        self._root = settings.root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = self._below_root(scope["path"])
        headers = Headers(scope=scope)
        sender = peer((scope.get("client") or (None,))[0], headers.getlist, self._settings.trusted_proxies)
        origin = ", ".join(headers.getlist("origin")) if "origin" in headers else None
        foreign = origin_refusal(self._settings, host=sender.host, scheme=sender.scheme, origin=origin)
        why = None if path in _ANY_HOST else host_refusal(self._settings, sender.host)
        reason = "foreign-host" if why is not None else "foreign-origin"
        # Pages of other origins may fetch the files, as they may from anywhere, and nothing else.
        if path.startswith("/api/") or scope["method"] not in ("GET", "HEAD"):
            why = why or foreign
        allowed = origin if foreign is None else None
        answer: ASGIApp
        if why is not None:
            self._counts.refused[reason] += 1
            logger.warning("refused %s %s: %s", scope["method"], ascii(path[:200]), why)
            answer = problem(403, "permission denied", why)
        elif not path:
            answer = RedirectResponse(f"{self._root}/", 307)
        elif scope["method"] == "OPTIONS" and allowed is not None and "access-control-request-method" in headers:
            answer = _preflight()
        else:
            answer = self._app
        client = str(sender.address or "")
        scope = {**scope, "root_path": self._root, "path": self._root + path, CLIENT: client}
        send = _telling(send, allowed, self._counts)
        if not sender.proxied:  # then the connection is the client's own, and counted
            await answer(scope, receive, send)
            return
        try:
            with self._limits.request(client):
                await answer(scope, receive, send)
        except TooMany as error:
            self._counts.refused[error.kind] += 1
            await refused(error)(scope, receive, send)

    def _below_root(self, path: str) -> str:
        """The path without the root path, however often proxy and server put it before; empty for the bare root."""
        for _ in range(2):
            if self._root and (path == self._root or path.startswith(f"{self._root}/")):
                path = path.removeprefix(self._root)
        return path


def _preflight() -> Response:
    told = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _ASKED,
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }
    return Response(status_code=204, headers=told)


def _telling(send: Send, allowed: str | None, counts: Counts) -> Send:
    """``send`` that adds what browsers are to be told, and counts.

    :param allowed: origin of the page that may read the answer.
    """

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            counts.responses[message["status"]] += 1
            headers = MutableHeaders(scope=message)
            for name, value in ALWAYS.items():
                headers.setdefault(name, value)
            headers.add_vary_header("Origin")
            if allowed is not None and "access-control-allow-origin" not in headers:
                headers["Access-Control-Allow-Origin"] = allowed
                headers["Access-Control-Expose-Headers"] = _TOLD
        await send(message)

    return tell

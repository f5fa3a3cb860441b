"""Checks of every HTTP request before routing: path, Host, Origin; and the headers of every answer.

An ASGI middleware, so that errors inside get the same headers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher.core.errors import TooMany, Unauthorized
from watcher.core.settings import Settings
from watcher.relay.common.audit_log import AuditLog
from watcher.relay.common.stats import Stats
from watcher.relay.http.problems import problem, refused
from watcher.relay.http.request_parts import CLIENT, PERSON
from watcher.relay.limits.limits import COMMAND, REQUEST, Limits
from watcher.relay.limits.metering import UsageBill, metered, turn
from watcher.relay.security.forwarded import Peer, peer
from watcher.relay.security.identity import Person, person
from watcher.relay.security.origins import (
    ambient_refusal,
    host_refusal,
    is_loopback_host,
    origin_of,
    origin_refusal,
    unbelieved,
)

__all__ = ["ALWAYS", "AccessMiddleware"]

#: Content policy of the page (CSP Level 3; ``'self'`` in connect-src includes the WebSocket at its own host and port).
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Headers of every answer.
ALWAYS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Paths that load balancers request by address; they reveal nothing.
_ANY_HOST: Final = frozenset(("/healthz", "/readyz"))
#: Paths that require authentication; the others are files.
_ASKING: Final = ("/api/", "/metrics")
#: Browsers that used https use only that for a year, in seconds, at every port of the name (RFC 6797).
_STRICT: Final = "max-age=31536000"
_METHODS: Final = "GET, POST"
_ASKED: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
_TOLD: Final = "Location, Preference-Applied, Retry-After, Watcher-Epoch, Watcher-Offset"
_PREFLIGHT_SECONDS: Final = "600"


class AccessMiddleware:
    """Admit requests by the rules of :mod:`watcher.relay.security.origins`, answer preflights (CORS), count answers."""

    def __init__(self, app: ASGIApp, settings: Settings, counts: Stats, limits: Limits, refusals: AuditLog) -> None:
        self._app = app
        self._limits = limits
        self._settings = settings
        self._counts = counts
        self._refusals = refusals
        self._root = settings.root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = self._below_root(scope["path"])
        headers = Headers(scope=scope)
        sender = peer((scope.get("client") or (None,))[0], headers.getlist, self._settings.trusted_proxies)
        origin = origin_of(headers.getlist)
        foreign = origin_refusal(self._settings, host=sender.host, scheme=sender.scheme, origin=origin)
        why = None if path in _ANY_HOST else host_refusal(self._settings, sender.host)
        reason = "foreign-host" if why is not None else "foreign-origin"
        changes = headers.get("content-type", "") if scope["method"] not in ("GET", "HEAD") else None
        # Pages of other origins may fetch the files, which are public, and nothing else.
        if path.startswith("/api/") or changes is not None:
            why = why or foreign
        if path.startswith(_ASKING) or changes is not None:
            why = why or ambient_refusal(self._settings, sender, headers.getlist, changes=changes)
        allowed = origin if foreign is None else None
        answer: ASGIApp
        if why is not None:
            self._counts.refused[reason] += 1
            self._refusals.tell(sender.name, f"{scope['method']} {path}", why)
            answer = problem(403, "permission denied", why)
        elif not path:
            answer = RedirectResponse(f"{self._root}/", 307)
        elif scope["method"] == "OPTIONS" and allowed is not None and "access-control-request-method" in headers:
            answer = _preflight()
        else:
            answer = self._app
        if sender.proxied:
            scope["client"] = (sender.name, 0)
        named, client = self._named(sender, headers), sender.name or ""
        scope = {**scope, "root_path": self._root, "path": self._root + path, PERSON: named, CLIENT: client}
        always = {**ALWAYS, "Strict-Transport-Security": _STRICT} if self._is_strict(sender.host) else ALWAYS
        send = _telling(send, allowed, self._counts, always)
        paid = REQUEST * COMMAND
        if not sender.proxied:  # then the connection is the client's own, and counted already
            await metered(UsageBill((self._limits.find(client),), paid), _answered, answer, scope, receive, send)
            return
        try:
            with self._limits.request(client) as account:
                await metered(UsageBill((account,), paid), _in_turn, answer, scope, receive, send)
        except TooMany as error:
            self._counts.refused[error.kind] += 1
            await refused(error)(scope, receive, send)

    def _is_strict(self, host: str | None) -> bool:
        """Whether browsers must use https from now on; not for ``localhost``, which other programs share."""
        return self._settings.tls and host is not None and not is_loopback_host(host)

    def _named(self, sender: Peer, headers: Headers) -> Person | None:
        """The user that a trusted proxy names; None if the header is invalid, which authentication reports."""
        if (distrust := unbelieved(self._settings, sender, headers.getlist)) is not None:
            self._refusals.tell(sender.name, "a user name in a header", distrust)
        with contextlib.suppress(Unauthorized):
            return person(self._settings, sender, headers.getlist)
        return None

    def _below_root(self, path: str) -> str:
        """The path below the root path, which proxy and server may both have prepended; empty for the root itself."""
        for _ in range(2):
            if self._root and (path == self._root or path.startswith(f"{self._root}/")):
                path = path.removeprefix(self._root)
        return path


async def _answered(answer: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await answer(scope, receive, send)


async def _in_turn(answer: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a proxy's client when it is its turn: the proxy's connections don't take turns."""
    await turn()
    await answer(scope, receive, send)


def _preflight() -> Response:
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _ASKED,
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }
    return Response(status_code=204, headers=headers)


def _telling(send: Send, allowed: str | None, counts: Stats, always: Mapping[str, str]) -> Send:
    """``send`` that adds the headers of every answer, and counts answers.

    :param allowed: origin of the page that may read the answer.
    :param always: headers that are added unless the answer has its own.
    """

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            counts.responses[message["status"]] += 1
            headers = MutableHeaders(scope=message)
            for name, value in always.items():
                headers.setdefault(name, value)
            headers.add_vary_header("Origin")
            if allowed is not None and "access-control-allow-origin" not in headers:
                headers["Access-Control-Allow-Origin"] = allowed
                headers["Access-Control-Expose-Headers"] = _TOLD
        await send(message)

    return tell

"""Parts of a request: token, body, time to wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import anyio
from starlette.requests import ClientDisconnect, Request

from watcher.core.errors import BadRequest, TooLarge, TooSlow, UnsupportedMediaType
from watcher.core.permissions import Grant
from watcher.relay.api.schemas import LONGEST_WAIT, WAIT
from watcher.relay.limits.limits import Limits
from watcher.relay.security import origins
from watcher.relay.security.identity import Person

__all__ = ["PERSON", "SUBJECT", "admitted", "bearer", "body", "person", "preferred_wait", "wait"]

#: Key of an ASGI scope under which :class:`watcher.relay.http.middleware.AccessMiddleware` puts the proxy's user …
PERSON: Final = "watcher.person"
#: … and the client's address, behind all trusted proxies; empty if it has none.
CLIENT: Final = "watcher.client"
#: Attribute of a request's state with the token's subject, for the log of refusals.
SUBJECT: Final = "watcher_subject"
_PREFER_WAIT: Final = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


def bearer(request: Request) -> str | None:
    """The request's bearer token, if it has one."""
    return origins.bearer(request.headers.getlist)


def person(request: Request) -> Person | None:
    """The user that a trusted proxy named."""
    named: Person | None = request.scope.get(PERSON)
    return named


def admitted(request: Request, admit: Callable[[str | None, Person | None], Grant], token: str | None = None) -> Grant:
    """The permissions of the request's token, or of the user that a proxy named; the request remembers the subject.

    :param admit: the relay's check.
    :param token: a token from elsewhere than the header.
    :raises Unauthorized: there is no token, or it is invalid.
    """
    grant = admit(bearer(request) or token, person(request))
    setattr(request.state, SUBJECT, grant.subject)
    return grant


async def body(request: Request, limits: Limits) -> bytes:
    """The request's body, JSON text.

    :raises TooLarge: the body is too large; raised as soon as it is.
    :raises TooSlow: it does not arrive in time.
    :raises UnsupportedMediaType: the Content-Type is not JSON; a form can't claim to be JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"send application/json, not {kind[:80]}")
    length, most = request.headers.get("content-length", ""), limits.settings.max_body
    if length.isdigit() and int(length) > most:
        raise _too_large(request, limits)
    text = bytearray()
    try:
        with anyio.fail_after(limits.settings.body_timeout):
            async for chunk in request.stream():
                text += chunk
                if len(text) > most:
                    raise _too_large(request, limits)
    except ClientDisconnect:
        raise BadRequest("the request ended before its body was complete") from None
    except TimeoutError:
        limits.reached("body_timeout", request.scope.get(CLIENT, ""))
        raise TooSlow("the body of the request did not arrive in time") from None
    return bytes(text)


def _too_large(request: Request, limits: Limits) -> TooLarge:
    limits.reached("max_body", request.scope.get(CLIENT, ""))
    return TooLarge(f"a request body may have at most {limits.settings.max_body} bytes")


def preferred_wait(header: str | None) -> float | None:
    """Seconds of ``Prefer: wait=SECONDS`` (RFC 7240, 4.3); an unreadable preference is ignored."""
    match = _PREFER_WAIT.search(header or "")
    return min(float(match[1]), LONGEST_WAIT) if match else None


def wait(request: Request) -> float:
    """Seconds of ``?wait=``.

    :raises BadRequest: it is not a number of seconds.
    """
    values = request.query_params.getlist("wait")
    unknown = request.query_params.keys() - WAIT.keys()
    if unknown or len(values) > 1:
        raise BadRequest(f"the only parameter is wait=SECONDS, given once, not {min(unknown, default='wait')!r}")
    if not values:
        return 0.0
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", values[0], re.ASCII):
        raise BadRequest(f"parameter 'wait': must be a number of seconds, 0 or more, not {values[0][:80]!r}")
    return min(float(values[0]), LONGEST_WAIT)

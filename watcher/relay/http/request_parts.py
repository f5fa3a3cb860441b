"""What comes with a request: a token, a body, how long to wait."""

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

#: Where :class:`watcher.relay.http.middleware.AccessMiddleware` leaves in a scope whom a trusted proxy names …
PERSON: Final = "watcher.person"
#: … and the address of the client, behind all trusted proxies; empty where it has none.
CLIENT: Final = "watcher.client"
#: Of a request's state: whose token it came with, for the log of what is refused.
SUBJECT: Final = "watcher_subject"
_PREFER_WAIT: Final = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


def bearer(request: Request) -> str | None:
    """The token of a request, where it has one."""
    return origins.bearer(request.headers.getlist)


def person(request: Request) -> Person | None:
    """Whom a trusted proxy says that the request is from."""
    found: Person | None = request.scope.get(PERSON)
    return found


def admitted(request: Request, admit: Callable[[str | None, Person | None], Grant], token: str | None = None) -> Grant:
    """What the request's token grants, or what whoever a proxy names may do; the request knows from then on who it is.

    :param admit: the relay's. ``token``: where it may be besides the header.
    :raises Unauthorized: there is none, or it is not valid.
    """
    grant = admit(bearer(request) or token, person(request))
    setattr(request.state, SUBJECT, grant.subject)
    return grant


async def body(request: Request, limits: Limits) -> bytes:
    """The request's JSON text.

    :raises TooLarge: as soon as that is seen. TooSlow: it doesn't come in time.
    :raises UnsupportedMediaType: it is said to be something else; a form can't say that it is JSON.
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
    """Seconds of ``Prefer: wait=SECONDS`` (RFC 7240, 4.3); a preference that can't be read is none."""
    found = _PREFER_WAIT.search(header or "")
    return min(float(found[1]), LONGEST_WAIT) if found else None


def wait(request: Request) -> float:
    """Seconds of ``?wait=``.

    :raises BadRequest: it is no number of seconds.
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

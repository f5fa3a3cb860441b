"""Errors as HTTP answers: ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from watcher.core.errors import BadArguments, NoToken, NotSent, Refused, TooMany, Unauthorized, Unavailable, kind
from watcher.relay.api.schemas import Problem
from watcher.relay.common.audit_log import REFUSED, AuditLog
from watcher.relay.common.stats import Stats
from watcher.relay.http.request_parts import SUBJECT

__all__ = ["MEDIA_TYPE", "handlers", "problem", "refused"]

MEDIA_TYPE: Final = "application/problem+json"
#: Seconds after which a client may repeat a request that was refused temporarily.
_RETRY_AFTER: Final = "1"


def problem(status: int, title: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """A problem answer.

    :param title: the same for all problems of a type; ``type`` is made of it.
    :param members: further members, such as ``submitted``.
    """
    body = Problem(f"urn:celery-watcher:{kind(title)}", title, status, detail, **members)
    merged = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(body), status, merged, media_type=MEDIA_TYPE)


def refused(error: Refused) -> Response:
    """The answer for one of our errors."""
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if isinstance(error, Unauthorized):
        # RFC 6750, 3.1: without a token, the challenge has no error code.
        challenge = "" if isinstance(error, NoToken) else ', error="invalid_token"'
        headers["WWW-Authenticate"] = f'Bearer realm="celery-watcher"{challenge}'
    if error.temporary:
        headers["Retry-After"] = str(math.ceil(error.retry_after)) if isinstance(error, TooMany) else _RETRY_AFTER
    if isinstance(error, Unavailable) and error.submitted is not None:
        members["submitted"] = error.submitted
    if isinstance(error, BadArguments) and error.argument is not None:
        members["argument"] = error.argument
    if isinstance(error, NotSent):
        members |= {"submitted": "no", "id": error.task_id}
    return problem(error.status, error.title, str(error), headers=headers, **members)


def handlers(counts: Stats, refusals: AuditLog) -> dict[Any, Any]:
    """Exception handlers for Starlette.

    :param counts: counter of refusals by kind.
    :param refusals: log of refusals.
    """

    async def on_refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, Refused):
            raise error
        counts.refused[error.kind] += 1
        if error.status in REFUSED:
            whose = getattr(request.state, SUBJECT, None)
            what = f"{request.method} {request.url.path}"
            refusals.tell(request.client.host if request.client else None, what, str(error), subject=whose)
        return refused(error)

    async def on_http(request: Request, error: Exception) -> Response:
        """Errors of the router: no such address, or a method that it doesn't allow."""
        if not isinstance(error, HTTPException):
            raise error
        title = HTTPStatus(error.status_code).phrase.lower()
        details = {404: "no such address", 405: f"{request.method} is not allowed at this address"}
        counts.refused[kind(title)] += 1
        detail = details.get(error.status_code, error.detail)
        return problem(error.status_code, title, detail, headers=dict(error.headers or {}))

    async def on_error(_request: Request, _error: Exception) -> Response:
        """Unexpected errors. Starlette raises them again, so the server logs them; the client sees no details."""
        return problem(500, "internal error", "the relay could not answer; its log says why")

    return {Refused: on_refused, HTTPException: on_http, Exception: on_error}

"""The HTTP API: submit, look at tasks, revoke; and the page.

Every route says who may use it by asking the token's grant, and every error is a problem, as in
:mod:`watcher.relay.problems`. What comes before a request is looked at is in :mod:`watcher.relay.door`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from watcher.errors import BadRequest, Gone, NotSucceeded, TaskNotFound, TooLarge, UnsupportedMediaType
from watcher.event import Task
from watcher.permissions import Grant
from watcher.relay.door import Door
from watcher.relay.gateway import Gateway, Submitted
from watcher.relay.history import ALL
from watcher.relay.hub import Hub, Publications
from watcher.relay.pages import Pages, folder
from watcher.relay.problems import HANDLERS, problem
from watcher.relay.query import Query
from watcher.settings import Settings

__all__ = ["Relay", "application"]

#: Largest body of a request, in bytes.
_BODY_BYTES: Final = 1024 * 1024
#: A request waits for a task no longer than this, in seconds.
_LONGEST_WAIT: Final = 60.0
_PREFER_WAIT: Final = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


class Relay(Protocol):
    """What the routes need of the relay."""

    hub: Hub[Any]
    gateway: Gateway
    settings: Settings
    draining: bool

    @property
    def trouble(self) -> str | None:
        """Why the relay is not ready, or None where it is."""

    def admit(self, token: str | None) -> Grant:
        """The permissions that a token grants; raises :exc:`watcher.errors.Unauthorized`."""

    async def submit(self, data: bytes, grant: Grant, *, key: str | None = None) -> Submitted:
        """As :meth:`Gateway.submit`; when it returns, the history has the task."""

    async def lookup(self, identity: str) -> Task | None:
        """What is known of a task, by the history or else by the result backend."""


def application(relay: Relay) -> ASGIApp:
    """All that is served over HTTP, the WebSocket excepted."""
    api = _Api(relay)
    routes = [
        Route("/api/tasks", api.tasks, methods=["GET", "POST"]),
        # An id may be anything that Celery takes: a slash in it is part of it.
        Route("/api/tasks/{id:path}/revoke", api.revoke, methods=["POST"]),
        Route("/api/tasks/{id:path}/result", api.result, methods=["GET"]),
        Route("/api/tasks/{id:path}", api.get, methods=["GET"]),
        Route("/api/registry", api.registry, methods=["GET"]),
        Route("/healthz", api.health, methods=["GET"]),
        Route("/readyz", api.ready, methods=["GET"]),
        *Pages(folder()).routes(),
    ]
    inner = Starlette(routes=routes, exception_handlers=HANDLERS)
    inner.router.redirect_slashes = False
    return Door(inner, relay.settings)


class _RevokeBody(msgspec.Struct, forbid_unknown_fields=True):
    terminate: bool = False


class _Waiter:
    """Wakes a request when something has happened to the task that it waits for."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed = anyio.Event()

    def deliver(self, _parts: Sequence[Publications]) -> None:
        """The hub has events of the task."""
        self._changed.set()

    def restart(self) -> None:
        """The journal is another one, or the relay stops."""
        self._changed.set()

    async def change(self) -> None:
        """Wait until one of these is called."""
        await self._changed.wait()
        self._changed = anyio.Event()


class _Api:
    """The routes; each method is one."""

    _NO_STORE: ClassVar[Mapping[str, str]] = {"Cache-Control": "no-store"}

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def tasks(self, request: Request) -> Response:
        """``/api/tasks``; one route, so that a 405 names all of its methods."""
        return await (self.submit(request) if request.method == "POST" else self.list(request))

    async def submit(self, request: Request) -> Response:
        """``POST /api/tasks``."""
        grant = self._admit(request)
        wait = _preferred_wait(request.headers.get("prefer"))
        data = await _body(request)
        submitted = await self._relay.submit(data, grant, key=request.headers.get("idempotency-key"))
        headers = {"Location": f"{request.scope.get('root_path', '')}/api/tasks/{submitted.id}"}
        if wait is not None:
            headers["Preference-Applied"] = f"wait={wait:g}"
            task = await self._final(submitted.id, wait)
            # A repeat by a token without a subject may be anybody's (see Gateway), and shows nothing.
            theirs = bool(grant.subject or submitted.token) or not self._relay.settings.guarded
            if task is not None and task.final and (theirs or self._sees(grant, task)):
                return self._json(task, headers=headers | self._position())
        return self._json(submitted, 202, headers=headers)

    async def get(self, request: Request) -> Response:
        """``GET /api/tasks/ID``."""
        grant = self._admit(request)
        identity = request.path_params["id"]
        wait = _wait(request)
        task = self._visible(await self._relay.lookup(identity), grant)
        if wait and not task.final:
            task = await self._final(identity, wait) or task
        return self._json(task, headers=self._position())

    async def result(self, request: Request) -> Response:
        """``GET /api/tasks/ID/result``: the bare JSON value, whatever its size."""
        grant = self._admit(request)
        identity = request.path_params["id"]
        task = self._visible(await self._relay.lookup(identity), grant)
        if task.state == "IGNORED":
            raise Gone("the task ignored its result")
        if task.state != "SUCCESS":
            raise NotSucceeded(f"the task is {task.state}")
        if task.result_repr:
            raise UnsupportedMediaType("the result is no JSON")
        if isinstance(task.result, msgspec.Raw):
            text: bytes | None = bytes(task.result)
        else:
            text = await self._relay.gateway.result(identity, task.name)
        if text is None:
            raise Gone("the result is not stored any more, or not as JSON, or not to be shown")
        return Response(text, 200, dict(self._NO_STORE), media_type="application/json")

    async def revoke(self, request: Request) -> Response:
        """``POST /api/tasks/ID/revoke``."""
        grant = self._admit(request)
        body = await _body(request)
        try:
            asked = msgspec.json.decode(body, type=_RevokeBody) if body else _RevokeBody()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f'expected {{"terminate"?}}: {error}') from None
        data = msgspec.json.encode({"id": request.path_params["id"], "terminate": asked.terminate})
        return self._json(await self._relay.gateway.revoke(data, grant), 202)

    async def list(self, request: Request) -> Response:
        """``GET /api/tasks``."""
        grant = self._admit(request)
        query = Query.read(request.query_params.multi_items())
        history = self._relay.hub.history
        page = query.page(history, lambda task: self._sees(grant, task))
        found = {"tasks": page.tasks, "epoch": history.epoch, "offset": history.last, "next": page.next}
        return self._json(found)

    async def registry(self, request: Request) -> Response:
        """``GET /api/registry``."""
        return self._json({"tasks": await self._relay.gateway.registry(self._admit(request))})

    async def health(self, _request: Request) -> Response:
        """``GET /healthz``: the process answers."""
        return self._json({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """``GET /readyz``: Redis answers and the journal has been read."""
        trouble = self._relay.trouble
        if trouble is None:
            return self._json({"status": "ready"})
        return problem(503, "not ready", trouble, headers={"Retry-After": "1"})

    # What they share.

    def _admit(self, request: Request) -> Grant:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._relay.admit(token.strip() if scheme.lower() == "bearer" else None)

    def _visible(self, task: Task | None, grant: Grant) -> Task:
        if task is None or not self._sees(grant, task):
            raise TaskNotFound("there is no such task")
        return task

    def _sees(self, grant: Grant, task: Task) -> bool:
        return grant.may_see([ALL, *task.channels()])

    async def _final(self, identity: str, seconds: float) -> Task | None:
        """The task once it is final, or as it is when time is up or the relay stops; None where it isn't known."""
        hub, waiter, channel = self._relay.hub, _Waiter(), f"task:{identity}"
        hub.watch(channel, waiter)
        try:
            with anyio.move_on_after(seconds):
                while not self._relay.draining:
                    task = hub.history.task(identity)
                    if task is not None and task.final:
                        return task
                    await waiter.change()
        finally:
            hub.unwatch(channel, waiter)
        return hub.history.task(identity)

    def _position(self) -> dict[str, str]:
        """What the answer includes: every event up to here."""
        history = self._relay.hub.history
        return {"Watcher-Epoch": history.epoch, "Watcher-Offset": str(history.last)}

    def _json(self, value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
        told = {**self._NO_STORE, **(headers or {})}
        return Response(msgspec.json.encode(value), status, told, media_type="application/json")


async def _body(request: Request) -> bytes:
    """The request's JSON text.

    :raises TooLarge: as soon as that is seen.
    :raises UnsupportedMediaType: it is said to be something else; a form can't say that it is JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"send application/json, not {kind[:80]}")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > _BODY_BYTES:
        raise TooLarge(f"a request has at most {_BODY_BYTES} bytes")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_BYTES:
                raise TooLarge(f"a request has at most {_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise BadRequest("the request ended early") from None
    return bytes(body)


def _preferred_wait(header: str | None) -> float | None:
    """Seconds of ``Prefer: wait=SECONDS`` (RFC 7240, 4.3); a preference that can't be read is none."""
    found = _PREFER_WAIT.search(header or "")
    return min(float(found[1]), _LONGEST_WAIT) if found else None


def _wait(request: Request) -> float:
    """Seconds of ``?wait=``.

    :raises BadRequest: it is no number of seconds.
    """
    values = request.query_params.getlist("wait")
    unknown = set(request.query_params) - {"wait"}
    if unknown or len(values) > 1:
        raise BadRequest(f"of parameters, only wait=SECONDS is accepted, once, not {min(unknown, default='wait')!r}")
    if not values:
        return 0.0
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", values[0], re.ASCII):
        raise BadRequest(f"parameter 'wait': takes seconds, 0 or more, not {values[0][:80]!r}")
    return min(float(values[0]), _LONGEST_WAIT)

"""The HTTP API: submit, inspect and revoke tasks; and the page.

Each route asks the token's grant for permission, and every error is a problem (:mod:`watcher.relay.http.problems`).
:mod:`watcher.relay.http.middleware` has the checks before routing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias
from urllib.parse import quote

import anyio
import msgspec
from msgspec import Raw
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from watcher.core.errors import BadRequest, Gone, NotSucceeded, TaskNotFound, Unavailable, UnsupportedMediaType
from watcher.core.event import Task
from watcher.core.figures import Series
from watcher.core.permissions import OPEN, Grant
from watcher.core.settings import Settings
from watcher.relay.api.parameters import Parameters, read
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import (
    COUNTS,
    LIST,
    NAMES,
    SERIES,
    Names,
    QueryParameter,
    RevokeRequest,
    Status,
    TaskCounts,
    TaskList,
)
from watcher.relay.common.audit_log import AuditLog
from watcher.relay.common.stats import Load, Stats
from watcher.relay.http import request_parts
from watcher.relay.http.export import Export, Pages, chosen
from watcher.relay.http.metrics import Metrics
from watcher.relay.http.middleware import AccessMiddleware
from watcher.relay.http.openapi import document
from watcher.relay.http.operations import OPERATIONS
from watcher.relay.http.problems import handlers, problem
from watcher.relay.http.sse import EventStreamRoute
from watcher.relay.http.static import StaticFiles, folder
from watcher.relay.limits.limits import Limits
from watcher.relay.security.identity import Person
from watcher.relay.stream.hub import Hub
from watcher.relay.stream.overview import OverviewChannel
from watcher.relay.stream.positions import Size
from watcher.relay.stream.wakeup import ChannelWakeup
from watcher.relay.submit.gateway import Gateway, Submitted
from watcher.relay.websocket.handshake import NO_UPGRADE, PATH

__all__ = ["ApiServices", "application"]

#: Carries out an operation.
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class TaskAnswers(Protocol):
    """What answers about many tasks."""

    async def list(self, asked: ListQuery, grant: Grant) -> TaskList:
        """A page of tasks."""

    async def page(self, asked: ListQuery, grant: Grant) -> tuple[Sequence[Raw], int | str | None]:
        """The same as JSON, and where the next one begins; None where there is none."""

    async def counts(self, asked: CountsQuery, grant: Grant) -> TaskCounts:
        """How many tasks there are."""

    async def series(self, asked: SeriesQuery, grant: Grant) -> Series:
        """What happened when."""

    async def names(self, asked: NamesQuery, grant: Grant) -> Names:
        """The tasks by name."""


class ApiServices(Protocol):
    """What the routes need from the relay."""

    hub: Hub[Any]
    overview: OverviewChannel
    gateway: Gateway
    settings: Settings
    counts: Stats
    refusals: AuditLog
    limits: Limits
    draining: bool
    edition: int

    @property
    def answers(self) -> TaskAnswers:
        """What answers about many tasks."""

    @property
    def trouble(self) -> str | None:
        """Why the relay is not ready; None if it is."""

    def admit(self, token: str | None, person: Person | None = None) -> Grant:
        """The permissions of a token, or else of a user; raises :exc:`watcher.core.errors.Unauthorized`."""

    async def submit(self, data: bytes, grant: Grant, client: str, *, key: str | None = None) -> Submitted:
        """As :meth:`Gateway.submit`; when it returns, the history has the task."""

    async def lookup(self, identity: str, grant: Grant = OPEN) -> Task | None:
        """A task from the history, or else from the result backend; None if it may not be seen."""

    def load(self) -> Load:
        """The relay's current load, for the metrics."""

    async def journal_size(self) -> Size | None:
        """The size of the journal; None if Redis doesn't answer."""

    async def reached(self, epoch: str, offset: int) -> None:
        """Wait, briefly, until the history has reached an offset of the journal."""


def application(relay: ApiServices) -> ASGIApp:
    """The ASGI application: everything served over HTTP except the WebSocket."""
    api = _Api(relay)
    served: dict[str, Handler] = {
        "listTasks": api.list,
        "countTasks": api.counts,
        "getSeries": api.series,
        "getNames": api.names,
        "submitTask": api.submit,
        "getTask": api.get,
        "getResult": api.result,
        "revokeTask": api.revoke,
        "getRegistry": api.registry,
        "watchEvents": EventStreamRoute(relay).get,
        "getOpenApi": api.openapi,
        "getHealth": api.health,
        "getReadiness": api.ready,
        "getMetrics": Metrics(relay).get,
    }
    routes = [
        *_routes(served),
        # The WebSocket itself never comes here.
        Route(f"/{{prefix:path}}{PATH}", api.websocket, methods=["GET"]),
        Route(PATH, api.websocket, methods=["GET"]),
        *StaticFiles(folder()).routes(),
    ]
    inner = Starlette(routes=routes, exception_handlers=handlers(relay.counts, relay.refusals))
    inner.router.redirect_slashes = False
    return AccessMiddleware(inner, relay.settings, relay.counts, relay.limits, relay.refusals)


def _routes(served: Mapping[str, Handler]) -> list[Route]:
    """One route for each path of the table, so that a 405 names all of its methods.

    :param served: who carries out each operation, by its name.
    """
    by_path: dict[str, dict[str, Handler]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = served[operation.name]
    return [
        # An id may be anything that Celery takes: a slash in it is part of it.
        Route(path.replace("{id}", "{id:path}"), _by_method(methods), methods=list(methods))
        for path, methods in sorted(by_path.items(), key=lambda each: -len(each[0]))  # what an id may end with first
    ]


def _by_method(methods: Mapping[str, Handler]) -> Handler:
    if len(methods) == 1:
        return next(iter(methods.values()))

    async def handle(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return handle


class _Api:
    """The operations; each method is one."""

    _NO_STORE: ClassVar[Mapping[str, str]] = {"Cache-Control": "no-store"}

    def __init__(self, relay: ApiServices) -> None:
        self._relay = relay
        self._answers = relay.answers
        self._document = msgspec.json.encode(document(relay.settings.root_path))

    async def submit(self, request: Request) -> Response:
        """``POST /api/tasks``."""
        grant = self._admit(request)
        wait = request_parts.preferred_wait(request.headers.get("prefer"))
        data = await request_parts.body(request, self._relay.limits)
        key, client = request.headers.get("idempotency-key"), request.scope.get(request_parts.CLIENT, "")
        submitted = await self._relay.submit(data, grant, client, key=key)
        # The id is the app's own choice where a task of its own stands for this one.
        headers = {"Location": f"{request.scope.get('root_path', '')}/api/tasks/{quote(submitted.id, safe=':')}"}
        if wait is not None:
            headers["Preference-Applied"] = f"wait={wait:g}"
            # A repeat by a token without a subject may be anybody's (see Gateway): it is waited for, and shown, where
            # the task may be seen, for the moment of the answer tells when it ended.
            theirs = bool(submitted.token or (grant.subject and not submitted.existing))
            theirs = theirs or not self._relay.settings.guarded
            current = (
                await self._known(submitted.id, OPEN if theirs else grant) if submitted.existing or not theirs else None
            )
            task = current if current is not None and current.final else None
            if task is None and (theirs or current is not None):
                task = await self._final(submitted.id, wait)
            if task is not None:
                if task.final:
                    return self._json(task, headers=headers | self._position())
                submitted = msgspec.structs.replace(submitted, state=task.state, queue=task.queue)
        return self._json(submitted, 202, headers=headers)

    async def get(self, request: Request) -> Response:
        """``GET /api/tasks/ID``."""
        grant = self._admit(request)
        identity = request.path_params["id"]
        wait = request_parts.wait(request)
        task = await self._visible(identity, grant)
        if wait and not task.final:
            task = await self._final(identity, wait) or task
        return self._json(task, headers=self._position())

    async def result(self, request: Request) -> Response:
        """``GET /api/tasks/ID/result``: the bare JSON value, whatever its size."""
        grant = self._admit(request)
        identity = request.path_params["id"]
        task = await self._visible(identity, grant)
        if task.state == "IGNORED":
            raise Gone("the task ignored its result")
        if task.state != "SUCCESS":
            raise NotSucceeded(f"the task is {task.state}")
        if task.result_repr:
            raise UnsupportedMediaType("the result is not JSON")
        if isinstance(task.result, msgspec.Raw):
            text: bytes | None = bytes(task.result)
        else:
            text = await self._relay.gateway.result(identity, task.name)
        if text is None:
            raise Gone("the result is no longer stored, not stored as JSON, or hidden")
        return Response(text, 200, dict(self._NO_STORE), media_type="application/json")

    async def revoke(self, request: Request) -> Response:
        """``POST /api/tasks/ID/revoke``."""
        grant = self._admit(request)
        body = await request_parts.body(request, self._relay.limits)
        try:
            asked = msgspec.json.decode(body, type=RevokeRequest) if body else RevokeRequest()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f'expected {{"terminate"?}}: {error}') from None
        data = msgspec.json.encode({"id": request.path_params["id"], "terminate": asked.terminate})
        return self._json(await self._relay.gateway.revoke(data, grant), 202)

    async def list(self, request: Request) -> Response:
        """``GET /api/tasks``."""
        grant = self._admit(request)
        given = read(request.query_params.multi_items(), LIST)
        format = chosen(request, given.text("format"))  # noqa: A001 - as the parameter is called
        if format == "json":
            return self._json(await self._answers.list(ListQuery.read(given), grant))
        asked = ListQuery.read(given, usual_sort="sent")
        pages = Pages(
            lambda asked: self._answers.page(asked, grant), asked, asked.limit if given.all("limit") else None
        )
        by_token = request_parts.bearer(request) is not None
        return Export(self._relay, grant, format, await pages.take(), pages, by_token=by_token)

    async def counts(self, request: Request) -> Response:
        """``GET /api/counts``."""
        grant = self._admit(request)
        return self._json(await self._answers.counts(CountsQuery.read(self._given(request, COUNTS)), grant))

    async def series(self, request: Request) -> Response:
        """``GET /api/series``."""
        grant, now = self._admit(request), time.time()
        return self._json(await self._answers.series(SeriesQuery.read(self._given(request, SERIES), now), grant))

    async def names(self, request: Request) -> Response:
        """``GET /api/names``."""
        grant, now = self._admit(request), time.time()
        return self._json(await self._answers.names(NamesQuery.read(self._given(request, NAMES), now), grant))

    async def registry(self, request: Request) -> Response:
        """``GET /api/registry``."""
        return self._json(await self._relay.gateway.registry(self._admit(request)))

    async def openapi(self, _request: Request) -> Response:
        """``GET /api/openapi.json``."""
        return Response(self._document, headers=dict(self._NO_STORE), media_type="application/json")

    async def websocket(self, _request: Request) -> Response:
        """The WebSocket's address, requested without a handshake."""
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}  # RFC 9110, 15.5.22
        return problem(426, "upgrade required", NO_UPGRADE, headers=headers)

    async def health(self, _request: Request) -> Response:
        """``GET /healthz``: the process answers."""
        return self._json(Status("ok"))

    async def ready(self, _request: Request) -> Response:
        """``GET /readyz``: Redis answers and the journal has been read; without its archive a relay serves less."""
        trouble = self._relay.trouble
        if trouble is None:
            archive = self._relay.load().archive.trouble
            if archive is not None:
                return self._json(Status("degraded", f"the archive can't tell all: {archive}"))
            return self._json(Status("ready"))
        return problem(503, "not ready", trouble, headers={"Retry-After": "1"})

    # What they share.

    def _given(self, request: Request, table: Mapping[str, QueryParameter]) -> Parameters:
        return read(request.query_params.multi_items(), table)

    def _admit(self, request: Request) -> Grant:
        return request_parts.admitted(request, self._relay.admit)

    async def _visible(self, identity: str, grant: Grant) -> Task:
        task = await self._relay.lookup(identity, grant)
        if task is None:
            raise TaskNotFound("task not found")
        return task

    async def _known(self, identity: str, grant: Grant) -> Task | None:
        """An existing task, as far as it may be seen, for a repeated submission."""
        with contextlib.suppress(Unavailable):
            return await self._relay.lookup(identity, grant)
        return None

    async def _final(self, identity: str, seconds: float) -> Task | None:
        """The task once it is final, or its state when the time is up or the relay stops; None if it is unknown."""
        hub, bell, channel = self._relay.hub, ChannelWakeup(), f"task:{identity}"
        hub.watch(channel, bell)
        self._relay.counts.waiting += 1
        try:
            with anyio.move_on_after(seconds):
                while not self._relay.draining:
                    task = hub.history.task(identity)
                    if task is not None and task.final:
                        return task
                    await bell.wait()
        finally:
            self._relay.counts.waiting -= 1
            hub.unwatch(channel, bell)
        return hub.history.task(identity)

    def _position(self) -> dict[str, str]:
        """The position up to which the answer includes every event."""
        history = self._relay.hub.history
        return {"Watcher-Epoch": history.epoch, "Watcher-Offset": str(history.last)}

    def _json(self, value: Any, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
        all_headers = {**self._NO_STORE, **(headers or {})}
        return Response(msgspec.json.encode(value), status, all_headers, media_type="application/json")

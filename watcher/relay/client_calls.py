"""What WebSocket clients may call, and what a subscription has to wait for: from a method's name to what answers it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio

from watcher.centrifuge.messages import SubscribeRequest, task_identity
from watcher.core.errors import NoMethod, Refused
from watcher.core.event import OVERVIEW, Task
from watcher.core.permissions import OPEN, Grant
from watcher.relay.answers import Answers
from watcher.relay.api.parameters import called
from watcher.relay.api.queries import CountsQuery, ListQuery, NamesQuery, SeriesQuery
from watcher.relay.api.schemas import COUNTS, LIST, NAMES, SERIES
from watcher.relay.common.audit_log import REFUSED, AuditLog
from watcher.relay.common.stats import Stats
from watcher.relay.stream.overview import OverviewChannel
from watcher.relay.submit.gateway import Gateway, Submitted
from watcher.relay.websocket.calls import CallRunner
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.records import Call

__all__ = ["CallServices", "ClientCalls", "log_refusal"]


#: Methods that ask about many tasks, with their parameters: a file is for HTTP.
_QUESTIONS: Final = {
    "list": {name: parameter for name, parameter in LIST.items() if name != "format"},
    "counts": COUNTS,
    "series": SERIES,
    "names": NAMES,
}
#: So many of them are answered at a time to one connection, and so many bytes of tasks come in one reply.
_QUESTIONS_AT_ONCE: Final = 4
_REPLY: Final = 256 * 1024
_METHODS: Final = ("submit", "revoke", "registry", *_QUESTIONS)


@dataclass(slots=True)
class _Asking:
    """The questions of one connection: their places, and how many there are with those that wait."""

    places: anyio.Semaphore
    count: int = 0


class CallServices(Protocol):
    """What calls need of the relay."""

    answers: Answers
    overview: OverviewChannel
    gateway: Gateway
    counts: Stats
    refusals: AuditLog

    async def submit(self, data: bytes, grant: Grant, client: str, *, key: str | None = None) -> Submitted:
        """Submit a task."""

    async def lookup(self, task_id: str, grant: Grant) -> Task | None:
        """What is known of a task that the holder of ``grant`` may see."""

    async def reached(self, epoch: str, offset: int) -> None:
        """Wait, not for long, until the history has reached an offset of the journal."""


class ClientCalls(CallRunner):
    """The calls of all clients that are under way."""

    def __init__(self, services: CallServices) -> None:
        super().__init__(self._answer, self._count_refusal)
        self._services = services
        self._asking: dict[WebSocketConnection, _Asking] = {}

    async def _answer(self, socket: WebSocketConnection, call: Call) -> Any:
        services, grant = self._services, socket.grant
        if call.method == "submit":
            return await services.submit(call.data, grant, socket.address)
        if call.method == "revoke":
            return await services.gateway.revoke(call.data, grant)
        if call.method == "registry":
            return await services.gateway.registry(grant)
        if call.request is not None:
            return await self._before_subscription(call.request)
        if call.method in _QUESTIONS:
            return await self._question(socket, call, grant)
        if call.method != "get":
            raise NoMethod(f"no such method {call.method!r}: {', '.join(_METHODS)} and get exist")
        return {"task": await services.lookup(task_identity(call.data), grant)}

    async def _question(self, socket: WebSocketConnection, call: Call, grant: Grant) -> Any:
        """What is asked about many tasks: a few at a time, and none for a client that doesn't take its answers."""
        asking = self._asking.setdefault(socket, _Asking(anyio.Semaphore(_QUESTIONS_AT_ONCE)))
        asking.count += 1
        try:
            async with asking.places:
                await socket.room()
                return await self._answer_question(call, grant) if socket.subscriptions is not None else None
        finally:
            asking.count -= 1
            if not asking.count:
                del self._asking[socket]

    async def _answer_question(self, call: Call, grant: Grant) -> Any:
        answers, now = self._services.answers, time.time()
        given = called(call.data, _QUESTIONS[call.method])
        if call.method == "list":
            return await answers.list(ListQuery.read(given), grant, _REPLY)
        if call.method == "counts":
            return await answers.counts(CountsQuery.read(given), grant)
        if call.method == "series":
            return await answers.series(SeriesQuery.read(given, now), grant)
        return await answers.names(NamesQuery.read(given, now), grant)

    async def _before_subscription(self, request: SubscribeRequest) -> Any:
        """What a session can't know by itself; that the client may subscribe was found before."""
        if request.channel == OVERVIEW:
            return await self._services.overview.now()
        if request.recover:
            await self._services.reached(request.epoch, request.offset)
        kind, _, name = request.channel.partition(":")
        return await self._services.lookup(name, OPEN) if kind == "task" else None

    def _count_refusal(self, socket: WebSocketConnection, call: Call, error: Refused) -> None:
        self._services.counts.refused[error.kind] += 1
        if error.status in REFUSED:
            log_refusal(self._services.refusals, socket, call.method, str(error))


def log_refusal(refusals: AuditLog, socket: WebSocketConnection, what: str, why: str) -> None:
    """A client asked for what it may not have."""
    refusals.tell(socket.address or None, what, why, subject=socket.grant.subject)

"""The HTTP API as one table: its routes are made from it, and its OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from watcher.core.errors import (
    BadArguments,
    BadRequest,
    Conflict,
    Gone,
    NoApp,
    NotSent,
    NotSucceeded,
    Refused,
    TaskNotFound,
    TooLarge,
    TooMany,
    Unavailable,
    UnknownTask,
    UnsupportedMediaType,
)
from watcher.core.event import Event, Task
from watcher.core.figures import Series
from watcher.relay.api.schemas import (
    COUNTS,
    EVENTS,
    LIST,
    NAMES,
    POSITION,
    SERIES,
    WAIT,
    Names,
    Nothing,
    QueryParameter,
    Registry,
    RevokeRequest,
    Status,
    TaskCounts,
    TaskList,
)
from watcher.relay.api.submission import MAX_KEY, SubmissionRequest
from watcher.relay.submit.pipeline import Submitted

__all__ = ["OPERATIONS", "DocumentedAnswer", "Header", "Operation"]


@dataclass(frozen=True, slots=True)
class DocumentedAnswer:
    """What comes where all goes well.

    :param body: its type; None where ``content`` says what it is, by media type.
    :param headers: names, of those that an answer may have.
    """

    description: str
    body: type | None = None
    headers: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request; ``schema`` is of its value, a text."""

    name: str
    meaning: str
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method does at one path.

    :param path: ``{id}`` in it is a task's, and may have slashes in it.
    :param name: as clients that are generated call it.
    :param answers: by status.
    :param errors: those of its own; what every request may be refused for is not among them.
    :param query: parameters of the query by name.
    :param body: type of the request's body; None where there is none. ``needs_body``: whether it must be there.
    :param open: whether no token is needed. ``token_in_query``: whether it may be in the query, too.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[int, DocumentedAnswer]
    tag: str = "tasks"
    errors: tuple[type[Refused], ...] = ()
    query: Mapping[str, QueryParameter] = field(default_factory=dict)
    headers: tuple[Header, ...] = ()
    body: type | None = None
    needs_body: bool = True
    open: bool = False
    token_in_query: bool = False


def _or_empty(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema, which also accepts an empty string."""
    return {**schema, "pattern": f"^({schema['pattern'].strip('^$')})?$"}


_OF_BODIES: Final = (BadRequest, TooLarge, UnsupportedMediaType)
_UP_TO_HERE: Final = ("Watcher-Epoch", "Watcher-Offset")
_OF_SUBMISSIONS: Final = ("Location", "Preference-Applied")
_EVENT_STREAM: Final = (
    "`id` is `EPOCH:OFFSET`, `data` an event. An event `gap` says that some may be missing before what follows. "
    "Blocks without `data` move the id only."
)
_TEXT: Final = {"schema": {"type": "string"}}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/tasks",
        name="listTasks",
        summary="List tasks, or write all of them to a file",
        answers={
            200: DocumentedAnswer(
                "The tasks.",
                content={
                    "application/json": {"schema": TaskList},
                    "text/csv": _TEXT,
                    "application/x-ndjson": _TEXT,
                },
            )
        },
        errors=(BadRequest, TooMany, Unavailable),
        query=LIST,
    ),
    Operation(
        method="GET",
        path="/api/counts",
        name="countTasks",
        summary="Count tasks",
        answers={200: DocumentedAnswer("How many there are.", TaskCounts)},
        errors=(BadRequest, TooMany, Unavailable),
        query=COUNTS,
    ),
    Operation(
        method="GET",
        path="/api/series",
        name="getSeries",
        summary="See what happened when",
        answers={200: DocumentedAnswer("What happened, in parts of equal length.", Series)},
        errors=(BadRequest, TooMany, Unavailable),
        query=SERIES,
    ),
    Operation(
        method="GET",
        path="/api/names",
        name="getNames",
        summary="Compare the names of tasks",
        answers={200: DocumentedAnswer("Each name with its numbers.", Names)},
        errors=(BadRequest, TooMany, Unavailable),
        query=NAMES,
    ),
    Operation(
        method="POST",
        path="/api/tasks",
        name="submitTask",
        summary="Submit a task, and optionally wait for it to end",
        answers={
            200: DocumentedAnswer("The task ended in time.", Task, (*_OF_SUBMISSIONS, *_UP_TO_HERE)),
            202: DocumentedAnswer("The task was sent.", Submitted, _OF_SUBMISSIONS),
        },
        errors=(*_OF_BODIES, NotSent, UnknownTask, BadArguments, Conflict, TooMany, NoApp, Unavailable),
        headers=(
            Header("Prefer", "`wait=SECONDS` (RFC 7240): answer when the task has ended, or after that time."),
            Header(
                "Idempotency-Key",
                "A repeated key returns the same task instead of sending another.",
                {"minLength": 1, "maxLength": MAX_KEY, "pattern": "^[ -~]+$"},
            ),
        ),
        body=SubmissionRequest,
    ),
    Operation(
        method="GET",
        path="/api/tasks/{id}",
        name="getTask",
        summary="Get a task, and optionally wait for it to end",
        answers={200: DocumentedAnswer("The task.", Task, _UP_TO_HERE)},
        errors=(BadRequest, TaskNotFound, Unavailable),
        query=WAIT,
    ),
    Operation(
        method="GET",
        path="/api/tasks/{id}/result",
        name="getResult",
        summary="Get the full result of a task",
        answers={
            200: DocumentedAnswer(
                "The result as a bare JSON value.",
                content={"application/json": {"schema": {"description": "Any JSON value."}}},
            )
        },
        errors=(TaskNotFound, NotSucceeded, Gone, UnsupportedMediaType, Unavailable),
    ),
    Operation(
        method="POST",
        path="/api/tasks/{id}/revoke",
        name="revokeTask",
        summary="Revoke a task",
        answers={202: DocumentedAnswer("The workers were told to revoke it.", Nothing)},
        errors=(*_OF_BODIES, NoApp, Unavailable),
        body=RevokeRequest,
        needs_body=False,
    ),
    Operation(
        method="GET",
        path="/api/registry",
        name="getRegistry",
        summary="List the tasks that you may submit",
        answers={200: DocumentedAnswer("The registered tasks.", Registry)},
        errors=(NoApp, Unavailable),
    ),
    Operation(
        method="GET",
        path="/api/events",
        name="watchEvents",
        summary="Watch channels by server-sent events",
        tag="events",
        answers={
            200: DocumentedAnswer(
                _EVENT_STREAM,
                content={
                    "text/event-stream": {
                        "schema": {"type": "string", "contentMediaType": "text/event-stream", "x-event": Event}
                    }
                },
            )
        },
        errors=(BadRequest, Unavailable),
        query=EVENTS,
        headers=(
            Header("Last-Event-ID", "Continue after this event; if empty, with new events only.", _or_empty(POSITION)),
        ),
        token_in_query=True,
    ),
    Operation(
        method="GET",
        path="/api/openapi.json",
        name="getOpenApi",
        summary="Get this document",
        tag="relay",
        answers={200: DocumentedAnswer("The document.", content={"application/json": {"schema": {"type": "object"}}})},
        open=True,
    ),
    Operation(
        method="GET",
        path="/healthz",
        name="getHealth",
        summary="Check that the process answers",
        tag="relay",
        answers={200: DocumentedAnswer("It does.", Status)},
        open=True,
    ),
    Operation(
        method="GET",
        path="/readyz",
        name="getReadiness",
        summary="Check that the relay serves",
        tag="relay",
        answers={200: DocumentedAnswer("Yes.", Status)},
        errors=(Unavailable,),
        open=True,
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="getMetrics",
        summary="Get metrics for Prometheus",
        tag="relay",
        answers={
            200: DocumentedAnswer(
                "Metrics in the Prometheus text format, or OpenMetrics.",
                content={"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
            )
        },
    ),
)

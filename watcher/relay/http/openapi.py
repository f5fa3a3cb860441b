"""The HTTP API as an OpenAPI 3.1 document, made from the types that read requests and write answers, and the errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

import watcher
from watcher.core.errors import (
    BadArguments,
    BadRequest,
    Conflict,
    Full,
    Gone,
    HeadersTooLarge,
    NoApp,
    NotPermitted,
    NotSent,
    NotSucceeded,
    PathTooLong,
    Refused,
    TaskNotFound,
    TooLarge,
    TooMany,
    TooSlow,
    Unauthorized,
    Unavailable,
    UnknownTask,
    UnsupportedMediaType,
)
from watcher.core.event import Event, Task
from watcher.relay.api import schemas
from watcher.relay.api.schemas import Nothing, Problem, QueryParameter, Registry, RevokeRequest, Status, TaskList
from watcher.relay.api.submission import MAX_KEY, OPTIONS, SubmissionRequest
from watcher.relay.submit.pipeline import Submitted

__all__ = ["document"]

Json = dict[str, Any]

#: Integers below this fit into 32 bits.
_WIDE: Final = 2**31
_TYPES: Final = (Task, Event, TaskList, Submitted, SubmissionRequest, RevokeRequest, Registry, Status, Nothing, Problem)
_REF: Final = "#/components/schemas/{name}"
#: Errors of every call.
_ALWAYS: Final = (Unauthorized, NotPermitted)
#: Errors of every request, whatever it is for.
_LIMITS: Final = (TooSlow, PathTooLong, HeadersTooLarge, TooMany, Full)
_BODY: Final = (BadRequest, TooLarge, UnsupportedMediaType)
_ID: Final = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
    "description": "Id of the task; write a slash in it as %2F.",
}  # fmt: skip
_ANYTHING: Final = {"description": "Any JSON value."}
_HEADERS: Final = {
    "Location": ("Address of the task.", {"type": "string"}),
    "Preference-Applied": ("The `wait` that was applied, in seconds.", {"type": "string"}),
    "Watcher-Epoch": (
        "With `Watcher-Offset`, the position in the journal up to which the answer includes every event.",
        {"type": "string"},
    ),
    "Watcher-Offset": ("See `Watcher-Epoch`.", {"type": "integer"}),
    "Retry-After": ("Seconds to wait before the request is repeated.", {"type": "integer"}),
    "WWW-Authenticate": ("A bearer token is required.", {"type": "string"}),
}


#: Tag of an operation, if not "tasks".
_TAGS: Final = {"watchEvents": "events", "getMetrics": "relay"}


def document(root_path: str) -> Json:
    """The OpenAPI document.

    :param root_path: path under which the relay is served.
    """
    _, components = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    for schema in components.values():
        if "description" in schema:
            schema["description"] = _prose(schema["description"])
        for field in schema["properties"].values():
            # No defaults: answers omit absent fields, but generators take a field with a default for always present.
            field.pop("default", None)
    components["SubmissionRequest"]["properties"]["options"] = _options()
    for kind in ("Event", "Task"):
        properties = components[kind]["properties"]
        properties["args"], properties["kwargs"] = {"type": "array", "items": {}}, {"type": "object"}
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "celery-watcher",
            "version": watcher.__version__,
            "summary": "Submit Celery tasks and watch them live.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path}],
        "security": [{"bearer": []}, {}],
        "tags": [
            {"name": "tasks", "description": "Submit, inspect and revoke tasks."},
            {"name": "events", "description": "Live events of tasks."},
            {"name": "relay", "description": "Health and metrics of the relay."},
        ],
        "paths": _paths(),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }
    _complete(made)
    return made


def _complete(node: Any) -> None:
    """Add to each schema what readers can infer but client generators need."""
    if isinstance(node, list):
        for child in node:
            _complete(child)
    elif isinstance(node, dict):
        _complete_schema(node)
        for name, child in node.items():
            if name not in ("default", "enum"):
                _complete(child)


def _complete_schema(schema: Json) -> None:
    kind = schema.get("type")
    bound: Any = schema.get("maximum", schema.get("exclusiveMaximum", _WIDE + 1))
    if "enum" in schema:
        schema.setdefault("type", "string")
    elif kind == "array":
        schema.setdefault("items", {})
    elif kind == "object" and not schema.get("properties"):
        schema.setdefault("additionalProperties", True)
    elif kind == "integer" and bound > _WIDE:
        schema["format"] = "int64"  # else they take it for one of 32 bits
    elif kind == "number":
        schema["format"] = "double"


def _paths() -> Json:
    position = ("Watcher-Epoch", "Watcher-Offset")
    submitted = ("Location", "Preference-Applied")
    return {
        "/api/tasks": {
            "get": _operation(
                "listTasks",
                "List tasks",
                {200: _json("The tasks.", TaskList)},
                (BadRequest,),
                parameters=_query(schemas.LIST),
            ),
            "post": _operation(
                "submitTask",
                "Submit a task, and optionally wait for it to end",
                {
                    200: _json("The task ended in time.", Task, *submitted, *position),
                    202: _json("The task was sent.", Submitted, *submitted),
                },
                (*_BODY, NotSent, UnknownTask, BadArguments, Conflict, TooMany, NoApp, Unavailable),
                parameters=[
                    _header(
                        "Prefer", "`wait=SECONDS` (RFC 7240): answer when the task has ended, or after that time.", {}
                    ),
                    _header(
                        "Idempotency-Key",
                        "A repeated key returns the same task instead of sending another.",
                        {
                            "minLength": 1,
                            "maxLength": MAX_KEY,
                            "pattern": "^[ -~]+$",
                        },
                    ),
                ],
                body=SubmissionRequest,
            ),
        },
        "/api/tasks/{id}": {
            "get": _operation(
                "getTask",
                "Get a task, and optionally wait for it to end",
                {200: _json("The task.", Task, *position)},
                (BadRequest, TaskNotFound, Unavailable),
                parameters=[_ID, *_query(schemas.WAIT)],
            )
        },
        "/api/tasks/{id}/result": {
            "get": _operation(
                "getResult",
                "Get the full result of a task",
                {
                    200: {
                        "description": "The result as a bare JSON value.",
                        "content": {"application/json": {"schema": _ANYTHING}},
                    }
                },
                (TaskNotFound, NotSucceeded, Gone, UnsupportedMediaType, Unavailable),
                parameters=[_ID],
            )
        },
        "/api/tasks/{id}/revoke": {
            "post": _operation(
                "revokeTask",
                "Revoke a task",
                {202: _json("The workers were told to revoke it.", Nothing)},
                (*_BODY, NoApp, Unavailable),
                parameters=[_ID],
                body=RevokeRequest,
                needs_body=False,
            )
        },
        "/api/registry": {
            "get": _operation(
                "getRegistry",
                "List the tasks that you may submit",
                {200: _json("The registered tasks.", Registry)},
                (NoApp, Unavailable),
            )
        },
        "/api/events": {
            "get": _operation(
                "watchEvents",
                "Watch channels by server-sent events",
                {200: _events()},
                (BadRequest, Unavailable),
                parameters=[
                    *_query(schemas.EVENTS),
                    _header(
                        "Last-Event-ID",
                        "Continue after this event; if empty, with new events only.",
                        _or_empty(schemas.POSITION),
                    ),
                ],
                security=[{"bearer": []}, {"token": []}, {}],
            )
        },
        "/api/openapi.json": {
            "get": _open("getOpenApi", "Get this document", {"application/json": {"schema": {"type": "object"}}})
        },
        "/healthz": {
            "get": _open("getHealth", "Check that the process answers", {"application/json": {"schema": _ref(Status)}})
        },
        "/readyz": {
            "get": _open(
                "getReadiness",
                "Check that the relay serves",
                {"application/json": {"schema": _ref(Status)}},
                Unavailable,
            ),
        },
        "/metrics": {
            "get": _operation(
                "getMetrics",
                "Get metrics for Prometheus",
                {
                    200: {
                        "description": "Metrics in the Prometheus text format, or OpenMetrics.",
                        "content": {
                            kind: {"schema": {"type": "string"}}
                            for kind in (
                                "text/plain",
                                "application/openmetrics-text",
                            )
                        },
                    }
                },
                (),
            )
        },
    }


def _or_empty(schema: Mapping[str, Any]) -> Json:
    """The same schema, which also accepts an empty string."""
    return {**schema, "pattern": f"^({schema['pattern'].strip('^$')})?$"}


def _events() -> Json:
    schema = {"type": "string", "contentMediaType": "text/event-stream", "x-event": _ref(Event)}
    description = (
        "`id` is `EPOCH:OFFSET`, `data` an event. An event named `gap` means that some events before the next "
        "one may be missing. Blocks without `data` only advance the id."
    )
    return {"description": description, "content": {"text/event-stream": {"schema": schema}}}


def _operation(
    name: str,
    summary: str,
    answers: Mapping[int, Json],
    errors: Iterable[type[Refused]],
    *,
    parameters: list[Json] | None = None,
    body: type | None = None,
    needs_body: bool = True,
    security: list[Json] | None = None,
) -> Json:
    made: Json = {"operationId": name, "summary": summary, "tags": [_TAGS.get(name, "tasks")]}
    if parameters:
        made["parameters"] = parameters
    if body is not None:
        made["requestBody"] = {"required": needs_body, "content": {"application/json": {"schema": _ref(body)}}}
    if security is not None:
        made["security"] = security
    responses = {str(status): answer for status, answer in answers.items()}
    made["responses"] = responses | _problems((*_ALWAYS, *_LIMITS, *errors))
    return made


def _open(name: str, summary: str, content: Json, *errors: type[Refused]) -> Json:
    """An operation that requires no token."""
    answer = {"description": "It does." if errors else "The answer.", "content": content}
    # A foreign Host or Origin is refused first.
    responses = {"200": answer, **_problems((NotPermitted, *_LIMITS, *errors))}
    return {"operationId": name, "summary": summary, "tags": ["relay"], "security": [], "responses": responses}


def _problems(errors: Iterable[type[Refused]]) -> Json:
    """Errors as responses, grouped by status."""
    by_status: dict[int, list[type[Refused]]] = {}
    for error in dict.fromkeys(errors):
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _problem(status, kinds) for status, kinds in sorted(by_status.items())}


def _problem(status: int, kinds: list[type[Refused]]) -> Json:
    description = " ".join(f"`{kind.title}`: {_prose(kind.__doc__ or '')}" for kind in kinds)
    made: Json = {
        "description": description or HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }
    names = ["Retry-After"] if any(kind.temporary for kind in kinds) else []
    names += ["WWW-Authenticate"] if Unauthorized in kinds else []
    return made | ({"headers": _headers(names)} if names else {})


def _json(description: str, kind: type, *headers: str) -> Json:
    made: Json = {"description": description, "content": {"application/json": {"schema": _ref(kind)}}}
    return made | ({"headers": _headers(headers)} if headers else {})


def _headers(names: Iterable[str]) -> Json:
    return {name: {"description": _HEADERS[name][0], "schema": _HEADERS[name][1]} for name in names}


def _header(name: str, meaning: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": meaning, "schema": {"type": "string", **schema}}


def _query(parameters: Mapping[str, QueryParameter]) -> list[Json]:
    return [_parameter(name, parameter) for name, parameter in parameters.items()]


def _parameter(name: str, parameter: QueryParameter) -> Json:
    schema: Mapping[str, Any] = parameter.schema
    if parameter.repeated > 1:
        schema = {"type": "array", "items": schema, "maxItems": parameter.repeated}
        schema |= {"minItems": 1} if parameter.required else {}
    made: Json = {"name": name, "in": "query", "description": parameter.meaning, "schema": schema}
    return made | ({"required": True} if parameter.required else {})


def _options() -> Json:
    """Schema of a submission's ``options``, from the table by which they are read."""
    properties = {name: {**option.schema, "description": option.meaning} for name, option in OPTIONS.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _ref(kind: type) -> Json:
    return {"$ref": _REF.format(name=kind.__name__)}


def _prose(docstring: str) -> str:
    """A docstring as one line, without the part about Python parameters."""
    text = inspect.cleandoc(docstring).split("\n\n:param")[0]
    return " ".join(text.replace("``", "`").split())

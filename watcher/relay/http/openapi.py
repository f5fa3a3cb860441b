"""The HTTP API as an OpenAPI 3.1 document, made from the types that read requests and write answers, and the errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

import watcher
from watcher.core.errors import (
    Full,
    HeadersTooLarge,
    NotPermitted,
    PathTooLong,
    Refused,
    TooMany,
    TooSlow,
    Unauthorized,
)
from watcher.core.event import Event, Task
from watcher.core.figures import Series
from watcher.relay.api.schemas import (
    Names,
    Nothing,
    Problem,
    QueryParameter,
    Registry,
    RevokeRequest,
    Status,
    TaskCounts,
    TaskList,
)
from watcher.relay.api.submission import OPTIONS, SubmissionRequest
from watcher.relay.http.operations import OPERATIONS, DocumentedAnswer, Header, Operation
from watcher.relay.submit.pipeline import Submitted

__all__ = ["document"]

Json = dict[str, Any]

#: Integers that are smaller than this fit into 32 bits.
_WIDE: Final = 2**31
_TYPES: Final = (
    Task, Event, TaskList, TaskCounts, Series, Names, Submitted, SubmissionRequest, RevokeRequest, Registry, Status,
    Nothing, Problem,
)  # fmt: skip
_REF: Final = "#/components/schemas/{name}"
#: Whatever a request is for, it may be refused for these.
_LIMITS: Final = (TooSlow, PathTooLong, HeadersTooLarge, TooMany, Full)
_ID: Final = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
    "description": "Id of the task; write a slash in it as %2F.",
}  # fmt: skip
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


def document(root_path: str) -> Json:
    """The OpenAPI document.

    :param root_path: path under which the relay is served.
    """
    _, components = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    for schema in components.values():
        if "description" in schema:
            schema["description"] = _prose(schema["description"])
        for field in schema["properties"].values():
            # What may be absent is absent, in answers too: where there is a default, generators say that it is there.
            field.pop("default", None)
    components["SubmissionRequest"]["properties"]["options"] = _options()
    for kind in ("Event", "Task"):
        properties = components[kind]["properties"]
        properties["args"], properties["kwargs"] = {"type": "array", "items": {}}, {"type": "object"}
    api = {
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
    _complete(api)
    return api


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
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Json:
    operation_object: Json = {"operationId": operation.name, "summary": operation.summary, "tags": [operation.tag]}
    parameters = [_ID] if "{id}" in operation.path else []
    parameters += [_parameter(name, parameter) for name, parameter in operation.query.items()]
    parameters += map(_header, operation.headers)
    if parameters:
        operation_object["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        operation_object["requestBody"] = {"required": operation.needs_body, "content": content}
    if operation.open:
        operation_object["security"] = []
    elif operation.token_in_query:
        operation_object["security"] = [{"bearer": []}, {"token": []}, {}]
    # Of those that need no token, a foreign Host or Origin is refused before anything is looked at.
    always = (NotPermitted,) if operation.open else (Unauthorized, NotPermitted)
    responses = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    operation_object["responses"] = responses | _problems((*always, *_LIMITS, *operation.errors))
    return operation_object


def _answer(answer: DocumentedAnswer) -> Json:
    content = answer.content if answer.body is None else {"application/json": {"schema": answer.body}}
    response: Json = {"description": answer.description, "content": _resolved(content)}
    return response | ({"headers": _headers(answer.headers)} if answer.headers else {})


def _resolved(node: Any) -> Any:
    """The same with references in the places of types, and nothing that two answers share."""
    if isinstance(node, type):
        return _ref(node)
    return {name: _resolved(child) for name, child in node.items()} if isinstance(node, Mapping) else node


def _problems(errors: Iterable[type[Refused]]) -> Json:
    """Errors as responses, grouped by status."""
    by_status: dict[int, list[type[Refused]]] = {}
    for error in dict.fromkeys(errors):
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _problem(status, kinds) for status, kinds in sorted(by_status.items())}


def _problem(status: int, kinds: list[type[Refused]]) -> Json:
    meanings = " ".join(f"`{kind.title}`: {_prose(kind.__doc__ or '')}" for kind in kinds)
    response: Json = {
        "description": meanings or HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }
    names = ["Retry-After"] if any(kind.temporary for kind in kinds) else []
    names += ["WWW-Authenticate"] if Unauthorized in kinds else []
    return response | ({"headers": _headers(names)} if names else {})


def _headers(names: Iterable[str]) -> Json:
    return {name: {"description": _HEADERS[name][0], "schema": _HEADERS[name][1]} for name in names}


def _header(header: Header) -> Json:
    schema = {"type": "string", **header.schema}
    return {"name": header.name, "in": "header", "description": header.meaning, "schema": schema}


def _parameter(name: str, parameter: QueryParameter) -> Json:
    schema: Mapping[str, Any] = parameter.schema
    if parameter.repeated > 1:
        schema = {"type": "array", "items": schema, "maxItems": parameter.repeated}
        schema |= {"minItems": 1} if parameter.required else {}
    parameter_object: Json = {"name": name, "in": "query", "description": parameter.meaning, "schema": schema}
    return parameter_object | ({"required": True} if parameter.required else {})


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

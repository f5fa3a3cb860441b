"""The OpenAPI document: valid, complete, and kept by the relay whatever it is sent."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from celery import Celery
from msgspec import Raw
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.relay.serving import append, known, listening, serving
from tests.relay.support import SECRET
from tests.support.events import event
from tests.support.processes import ROOT, environment
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.core.errors import Refused
from watcher.core.settings import Settings
from watcher.relay.http.openapi import document
from watcher.relay.http.routes import application

pytestmark = pytest.mark.anyio

#: Cases of each operation; a longer run by SCHEMATHESIS_EXAMPLES=1000.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "10")
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance"
)


async def test_it_is_valid_and_open(valkey: Valkey) -> None:
    async with serving(valkey.url(), settings=Settings(secret=SECRET, root_path="/watch")) as (client, _):
        response = await client.get("/watch/api/openapi.json")
    assert response.status_code == 200
    told = response.json()
    OpenAPIV31SpecValidator(told).validate()
    assert told["openapi"].startswith("3.1.")
    assert told["servers"] == [{"url": "/watch"}]


async def test_every_route_is_in_it(valkey: Valkey) -> None:
    paths = document("/")["paths"]
    async with serving(valkey.url()) as (_, relay):
        door: Any = application(relay)
    served: dict[str, set[str]] = {}
    for route in door._app.routes:
        if route.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            served[route.path.replace("{id:path}", "{id}")] = {method.lower() for method in route.methods - {"HEAD"}}
    assert {path: set(operations) for path, operations in paths.items()} == served
    documented = {int(s) for each in paths.values() for o in each.values() for s in o["responses"]}
    assert {error.status for error in Refused.__subclasses__()} - {500} <= documented


def schemas(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema that is written in the document, and where."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from schemas(each, f"{where}/{number}")
    elif isinstance(node, dict):
        for name, each in node.items():
            place = f"{where}/{name}"
            if name == "schemas" or (name == "properties" and isinstance(each, dict)):
                for title, schema in each.items():
                    yield f"{place}/{title}", schema
                    yield from schemas(schema, f"{place}/{title}")
                continue
            if name in ("schema", "items", "additionalProperties") and isinstance(each, dict):
                yield place, each
            if name in ("anyOf", "oneOf", "allOf"):
                yield from ((f"{place}/{number}", schema) for number, schema in enumerate(each))
            yield from schemas(each, place)


def demands(place: str, schema: dict[str, Any]) -> Iterator[str]:
    """What a generator of clients would miss of a schema."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "array" in kinds and "items" not in schema:
        yield f"{place}: items (openapi-python-client leaves out the operation)"
    if "object" in kinds and not {"properties", "additionalProperties"} & schema.keys():
        yield f"{place}: properties, or additionalProperties"
    if {"enum", "const"} & schema.keys() and not kinds:
        yield f"{place}: type, beside an enum"
    most = min(schema.get("maximum", 2**63), schema.get("exclusiveMaximum", 2**63))
    if "integer" in kinds and "format" not in schema and most > 2**31:
        yield f"{place}: format int64 (openapi-generator takes it for one of 32 bits)"
    if "$ref" in schema and schema.keys() > {"$ref"}:
        yield f"{place}: nothing beside a $ref"


async def test_generators_of_clients_find_what_they_want() -> None:
    """Of openapi-python-client, openapi-typescript and openapi-generator, as they were tried with it."""
    told = document("/")
    found = list(schemas(told))
    assert len(found) > 150
    missed = [wish for place, schema in found for wish in demands(place, schema)]
    missed += [
        f"{place}: no default (openapi-typescript takes it for always there)"
        for place, schema in found
        if "/components/schemas/" in place and "default" in schema
    ]
    names: list[str] = []
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            here = f"{method} {path}"
            names.append(operation["operationId"])
            assert re.fullmatch(r"[a-z][A-Za-z]+", names[-1]), here
            assert len(operation["tags"]) == 1, here
            for parameter in operation.get("parameters", ()):
                if parameter["in"] in ("header", "path"):  # no text would say which of several it is
                    missed += [f"{here}: {parameter['name']}: one type"] * (parameter["schema"].get("type") != "string")
                missed += [f"{here}: {parameter['name']}: its type"] * ("type" not in parameter["schema"])
            assert {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"} == set(
                re.findall(r"{(\w+)}", path)
            ), here
            bodies = [*operation["responses"].values(), *filter(None, [operation.get("requestBody")])]
            for body in bodies:
                assert body["content"], here
                missed += [
                    f"{here}: a schema of each body" for kind in body["content"].values() if "schema" not in kind
                ]
    assert missed == []
    assert len(names) == len(set(names))
    assert {tag["name"] for tag in told["tags"]} == {
        each["tags"][0] for path in told["paths"].values() for each in path.values()
    }


async def fuzzed(client: httpx.AsyncClient, folder: Path, *options: str, checks: str = CHECKS) -> None:
    """Let schemathesis send its cases; whatever is answered otherwise than documented fails."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{client.base_url}/api/openapi.json",
        "--url", str(client.base_url), "--checks", checks, "--max-examples", EXAMPLES, "--seed", SEED,
        "--phases", "examples,coverage,fuzzing", "--workers", "1", "--suppress-health-check", "all",
        "--no-color", "--continue-on-failure", *options,
    ]  # fmt: skip
    env = environment({"SCHEMATHESIS_HOOKS": "tests.relay.fuzzing", "PYTHONPATH": str(ROOT)})
    done = await anyio.run_process(command, check=False, env=env, cwd=folder)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.slow
async def test_whatever_is_sent_is_answered_as_documented(valkey: Valkey, app: Celery, tmp_path: Path) -> None:
    async with listening(valkey.url(), app) as (client, relay):
        append(valkey, event("done", "SUCCESS", result=Raw(b"5")), event("failed", "FAILURE"))
        append(valkey, event("running", "STARTED", name="tasks.add", tags=("x",)))
        await known(relay, "running", "STARTED")
        await fuzzed(client, tmp_path, "--exclude-path", "/api/events", "--request-timeout", "10")
    assert relay.counts.submissions["accepted"]
    assert relay.counts.responses.keys() >= {200, 202, 400, 404, 405, 409, 415, 422}
    assert not any(status >= 500 for status in relay.counts.responses)


@pytest.mark.slow
async def test_whatever_is_asked_of_the_stream_is_answered_as_documented(valkey: Valkey, tmp_path: Path) -> None:
    """It has no end: schemathesis takes the first event, or what has come within a second, and leaves."""
    async with listening(valkey.url()) as (client, relay):
        append(valkey, event("done", "SUCCESS", result=Raw(b"5")), event("failed", "FAILURE"))
        append(valkey, event("running", "STARTED", name="tasks.add", tags=("x",)))
        await known(relay, "running", "STARTED")
        (tmp_path / "schemathesis.toml").write_text("max-stream-events = 1\n")
        # In OpenAPI 3.1 a schema is that of the whole stream, and it takes it for that of one event.
        checks = CHECKS.replace("response_schema_conformance,", "")
        await fuzzed(client, tmp_path, "--include-path", "/api/events", "--request-timeout", "1", checks=checks)
        await eventually(lambda: relay.counts.streams == 0, what="no stream to be left")
    assert relay.counts.responses[200] >= 5
    assert relay.counts.responses[400] >= 5
    assert relay.counts.responses[405]
    assert not any(status >= 500 for status in relay.counts.responses)

"""The OpenAPI document: valid, complete, and kept by the relay whatever it is sent."""

from __future__ import annotations

import os
import sys
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
from watcher.errors import Refused
from watcher.relay.http import application
from watcher.relay.openapi import document
from watcher.settings import Settings

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


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery 5.7 does
async def test_whatever_is_sent_is_answered_as_documented(valkey: Valkey, app: Celery, tmp_path: Path) -> None:
    async with listening(valkey.url(), app) as (client, relay):
        append(valkey, event("done", "SUCCESS", result=Raw(b"5")), event("failed", "FAILURE"))
        append(valkey, event("running", "STARTED", name="tasks.add", tags=("x",)))
        await known(relay, "running", "STARTED")
        await fuzzed(client, tmp_path, "--exclude-path", "/api/events", "--request-timeout", "10")
    assert relay.counts.submissions["accepted"]
    assert relay.counts.responses.keys() >= {200, 202, 400, 404, 405, 409, 415, 422}
    assert not any(status >= 500 for status in relay.counts.responses)


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

"""The OpenAPI document: valid, complete, and kept by the relay whatever it is sent."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from celery import Celery
from msgspec import Raw
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.relay.serving import append, known, listening, serving
from tests.relay.support import SECRET
from tests.support.events import event
from tests.support.processes import ROOT, environment
from tests.support.valkey import Valkey
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


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery 5.7 does
async def test_whatever_is_sent_is_answered_as_documented(valkey: Valkey, app: Celery, tmp_path: Path) -> None:
    async with listening(valkey.url(), app) as (client, relay):
        append(valkey, event("done", "SUCCESS", result=Raw(b"5")), event("failed", "FAILURE"))
        append(valkey, event("running", "STARTED", name="tasks.add", tags=("x",)))
        await known(relay, "running", "STARTED")
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{client.base_url}/api/openapi.json",
            "--url", str(client.base_url), "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", SEED,
            # A stream of events has no end to wait for: tests/relay/test_sse.py has all that it refuses.
            "--exclude-path", "/api/events", "--phases", "examples,coverage,fuzzing", "--workers", "1",
            "--request-timeout", "10", "--suppress-health-check", "all", "--no-color", "--continue-on-failure",
        ]  # fmt: skip
        env = environment({"SCHEMATHESIS_HOOKS": "tests.relay.fuzzing", "PYTHONPATH": str(ROOT)})
        done = await anyio.run_process(command, check=False, env=env, cwd=tmp_path)
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    assert relay.counts.submissions["accepted"]
    assert relay.counts.responses.keys() >= {200, 202, 400, 404, 405, 409, 415, 422}
    assert not any(status >= 500 for status in relay.counts.responses)

"""A worker and a relay for all tests of the client; those that kill a relay start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server


@pytest.fixture(scope="package")
def server() -> Iterator[Valkey]:
    """A server that other tests don't empty."""
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="package")
def env(server: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture(scope="package")
def running(env: dict[str, str]) -> Iterator[Relay]:
    with worker("tasks", env=env), relay("tasks", env=env) as serving:
        yield serving

"""A worker and a relay for what the documents show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import ROOT, Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server


@pytest.fixture(scope="module")
def own_server() -> Iterator[Valkey]:
    """Broker and result backend on a server that other tests don't empty."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_env(own_server: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": own_server.url(15), "CELERY_RESULT_BACKEND": own_server.url(14)}


@pytest.fixture
def direct_env(own_env: dict[str, str]) -> dict[str, str]:
    """For a script that lies elsewhere and imports `tasks`."""
    return {**own_env, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def running(own_env: dict[str, str]) -> Iterator[Relay]:
    # One process, and one task at a time: then events come in the order in which the documents show them.
    with worker("tasks", "-n", "celery@worker1", pool="solo", env=own_env), relay("tasks", env=own_env) as serving:
        yield serving

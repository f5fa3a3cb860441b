"""A relay and a worker of the bundled app, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.slow import BACKEND
from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def env(_valkey: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": _valkey.url(15), "CELERY_RESULT_BACKEND": _valkey.url(14)}


@pytest.fixture(scope="module")
def running(env: dict[str, str]) -> Iterator[Relay]:
    with worker("tasks", env=env), relay("tasks", env=env) as serving:
        yield serving


@pytest.fixture(scope="module")
def slow(env: dict[str, str], running: Relay) -> Iterator[Relay]:
    """Another relay of the same app, to which the result backend is far away."""
    kept = env["CELERY_RESULT_BACKEND"]
    with relay("tasks", env={**env, "CELERY_RESULT_BACKEND": BACKEND + kept, "WATCHER_REDIS_URL": kept}) as serving:
        yield serving

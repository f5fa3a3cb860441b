"""A relay and a worker of the bundled app, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Relay, relay, worker
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def env(_valkey: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": _valkey.url(15), "CELERY_RESULT_BACKEND": _valkey.url(14)}


@pytest.fixture(scope="module")
def running(env: dict[str, str]) -> Iterator[Relay]:
    with worker("tasks", env=env), relay("tasks", env=env) as serving:
        yield serving

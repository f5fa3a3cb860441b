"""A worker and a relay for the commands that call one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Relay, relay, worker
from tests.support.valkey import valkey_server


@pytest.fixture(scope="package")
def own_env() -> Iterator[dict[str, str]]:
    """Broker and result backend on a server that other tests don't empty."""
    with valkey_server() as server:
        yield {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture(scope="package")
def serving(own_env: dict[str, str]) -> Iterator[Relay]:
    # More children than tasks that a test holds up at once: the others are to go on.
    with worker("tests.support.held", concurrency=5, env=own_env), relay("tests.support.held", env=own_env) as running:
        yield running

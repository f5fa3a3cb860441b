"""Where processes of these tests find broker, result backend and journal, and a reader of the journal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import Valkey
from tests.worker.support import Reader


@pytest.fixture
def env(valkey: Valkey) -> dict[str, str]:
    return {
        "CELERY_BROKER_URL": valkey.url(1),
        "CELERY_RESULT_BACKEND": valkey.url(2),
        "WATCHER_REDIS_URL": valkey.url(0),
    }


@pytest.fixture
def reader(valkey: Valkey) -> Iterator[Reader]:
    made = Reader(valkey.url())
    yield made
    made.close()

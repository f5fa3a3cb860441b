"""Fixtures for the relay's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from celery import Celery

from tests.relay.raw import SETTINGS, counted
from tests.relay.support import celery_app, gateway_to
from tests.support.processes import Relay, relay
from tests.support.valkey import Valkey
from watcher.relay.submit.gateway import Gateway


@pytest.fixture
def app(valkey: Valkey) -> Celery:
    """An app whose broker and result backend are the test's server."""
    return celery_app(valkey.url(15), valkey.url(14))


@pytest.fixture
async def gateway(app: Celery, valkey: Valkey) -> AsyncIterator[Gateway]:
    """A gateway to it, with the journal in database 0."""
    async with gateway_to(app, valkey.url()) as (made, _):
        yield made


@pytest.fixture(scope="module")
def _running(_valkey: Valkey) -> Iterator[Relay]:
    _valkey.flush()
    with relay(
        env={**SETTINGS, "CELERY_BROKER_URL": _valkey.url(15), "CELERY_RESULT_BACKEND": _valkey.url(14)}
    ) as running:
        yield running


@pytest.fixture
def serving(_running: Relay) -> Iterator[Relay]:
    """A relay that says nothing of what happens in a test but what it means to say, and has no connection left."""
    before = len(_running.stderr)
    yield _running
    assert _running.ready()
    said = _running.stderr[before:]
    assert "Traceback" not in said
    assert "ERROR" not in said


@pytest.fixture
def reaches(serving: Relay) -> Iterator[Callable[[str], None]]:
    """Hold a test to the limit that it must reach, as the metrics tell it."""
    before: dict[str, float] = {}

    def note(limit: str) -> None:
        before[limit] = counted(serving, limit)

    yield note
    for limit, was in before.items():
        assert counted(serving, limit) > was, limit

"""Fixtures for the relay's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from celery import Celery

from tests.relay.support import celery_app, gateway_to
from tests.support.valkey import Valkey
from watcher.relay.gateway import Gateway


@pytest.fixture
def app(valkey: Valkey) -> Celery:
    """An app whose broker and result backend are the test's server."""
    return celery_app(valkey.url(15), valkey.url(14))


@pytest.fixture
async def gateway(app: Celery, valkey: Valkey) -> AsyncIterator[Gateway]:
    """A gateway to it, with the journal in database 0."""
    async with gateway_to(app, valkey.url()) as (made, _):
        yield made

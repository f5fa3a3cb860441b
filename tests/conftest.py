"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.chromium import bring
from tests.support.valkey import Valkey, valkey_server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio: the relay's sockets are asyncio protocols."""
    return "asyncio"


@pytest.fixture(scope="session")
def _valkey() -> Iterator[Valkey]:
    with valkey_server() as server:
        yield server


@pytest.fixture
def valkey(_valkey: Valkey) -> Valkey:
    """The session's Valkey server, empty. Tests that freeze or kill one start their own: `valkey_server()`."""
    _valkey.flush()
    return _valkey


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """URL of an empty database."""
    return valkey.url()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of the tests' own, with certificates of a server and of a client on 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium, for the page's tests."""
    return bring()


@pytest.fixture
def tasks_env(valkey: Valkey) -> dict[str, str]:
    """Environment that points an app's broker and result backend at the test's server, at the databases of `tasks`."""
    return {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}

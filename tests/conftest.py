"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.chromium import bring, bring_shell
from tests.support.valkey import Valkey, valkey_server

#: The files that take longest, in that order: begun first, so that no process is left alone with one at the end.
_SLOW = (
    "lives/test_lives.py", "worker/test_processes.py", "cli/test_up.py", "end_to_end/test_stress.py",
    "faults/test_worker.py", "browser/test_hostile.py", "browser/test_limited.py", "cli/terminal/test_streams.py",
    "browser/page/test_looks.py", "faults/test_redis.py", "browser/test_log_in.py",
    "relay/safety_net/test_safety_net.py",
    "worker/test_greenlets.py", "relay/test_readiness.py", "browser/page/test_lost.py", "worker/hooks/test_ends.py",
    "worker/test_blocking.py", "relay/http/test_openapi.py", "browser/page/test_page.py", "browser/test_with_relay.py",
    "cli/test_submit.py", "direct/test_results_faults.py", "end_to_end/test_redis_guarded.py",
    "browser/page/test_again.py",
    "documents/test_commands.py", "browser/embed/test_watcher.py", "relay/test_hostile.py", "worker/test_pools.py",
    "browser/test_examples.py", "cli/test_watch.py", "end_to_end/test_configured_redis.py", "cli/test_serve.py",
    "fuzz/test_redis.py", "fuzz/test_commands.py", "fuzz/test_port.py", "fuzz/test_requests.py", "cli/test_hostile.py",
    "faults/test_waiting.py", "faults/test_attack.py", "faults/test_journal.py", "faults/test_http.py",
)  # fmt: skip
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files; with `--no-loadscope-reorder` several processes take the files in this order."""
    rank = {_TESTS / name: number for number, name in enumerate(_SLOW)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))  # stable: within a file nothing moves


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
    """Path of a Chromium, for what a browser as a whole decides."""
    return bring()


@pytest.fixture(scope="session")
def chromium_shell() -> str:
    """Path of a Chromium without a window, for the page's tests."""
    return bring_shell()


@pytest.fixture
def tasks_env(valkey: Valkey) -> dict[str, str]:
    """Environment that points an app's broker and result backend at the test's server, at the databases of `tasks`."""
    return {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}

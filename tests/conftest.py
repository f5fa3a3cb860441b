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
    "worker/test_processes.py", "cli/test_up.py", "lives/test_lives.py", "faults/test_worker.py",
    "cli/terminal/test_streams.py", "faults/test_redis.py", "cli/test_submit.py", "worker/hooks/test_ends.py",
    "end_to_end/test_redis_guarded.py", "browser/test_hostile.py", "worker/test_blocking.py",
    "worker/test_greenlets.py", "relay/safety_net/test_safety_net.py", "relay/test_readiness.py",
    "relay/http/test_openapi.py", "documents/test_commands.py", "cli/test_serve.py", "browser/test_log_in.py",
    "direct/test_results_faults.py", "end_to_end/test_secrets.py", "end_to_end/test_configured_redis.py",
    "worker/test_pools.py", "relay/test_hostile.py", "cli/test_watch.py", "browser/page/test_looks.py",
    "browser/test_with_relay.py", "client/test_recovery.py", "browser/embed/test_foreign_page.py",
    "cli/terminal/test_terminal.py", "browser/test_limited.py", "browser/page/test_page.py", "worker/test_spawn.py",
    "cli/test_tls.py", "end_to_end/test_sdk.py", "faults/test_journal.py", "end_to_end/test_stress.py",
    "project/test_examples.py", "end_to_end/test_sdk_javascript.py", "faults/test_relay.py",
    "faults/test_untouched.py", "browser/page/test_again.py", "browser/page/test_lost.py",
    "browser/embed/test_module.py", "browser/test_examples.py", "faults/test_waiting.py", "faults/test_http.py",
    "faults/test_attack.py", "fuzz/test_redis.py", "fuzz/test_commands.py", "fuzz/test_port.py",
    "fuzz/test_requests.py",
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

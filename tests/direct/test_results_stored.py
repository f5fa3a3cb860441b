"""`watcher.results`: what is stored how, and what is read of it. Celery's own backend stores it here."""

from __future__ import annotations

import datetime as dt
import pickle
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import kombu.exceptions
import pytest
from celery import Celery
from celery.exceptions import Reject

import watcher
from tests.support.events import event, record
from tests.support.valkey import Valkey, valkey_server
from watcher.client import ResultUnavailable, TaskFailed, TaskRejected
from watcher.direct import ResultUnreadable
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey_server() as running:
        yield running


def made(server: Valkey, **conf: Any) -> Celery:
    app = Celery("program", broker=server.url(1), backend=server.url(2), set_as_current=False)
    app.conf.update(conf)
    return app


def store(app: Celery, identity: str, value: Any, state: str = "SUCCESS") -> None:
    backend: Any = app.backend
    backend.store_result(identity, value, state)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


async def test_values_are_what_the_app_makes_of_them(server: Valkey) -> None:
    app = made(server)
    value = {"when": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "much": Decimal("1.5"), "none": None}
    store(app, "typed", value)
    async with watcher.results(app) as results:
        assert await results.wait("typed", timeout=20) == value
    async with watcher.results(server.url(2)) as results:
        plain = await results.wait("typed", timeout=20)
        assert plain == {"when": "2026-01-02T00:00:00+00:00", "much": "1.5", "none": None}


async def test_a_rejection_is_the_same_whoever_tells_it_first(server: Valkey) -> None:
    """Celery stores it as a failure, since 5.7; the plugin tells what it is."""
    app = made(server)
    store(app, "refused", Reject("not mine", requeue=False), "FAILURE")
    for source in (app, server.url(2)):
        async with watcher.results(source) as results:
            with pytest.raises(TaskRejected) as raised:
                await results.wait("refused", timeout=20)
            assert "not mine" in raised.value.message


async def test_nothing_is_unpickled_that_the_app_does_not_accept(server: Valkey, tmp_path: Path) -> None:
    pickles = made(server, result_serializer="pickle", accept_content=["pickle"])
    trap = tmp_path / "sprung"
    with server.client(2) as redis:
        redis.set("celery-task-meta-trap", pickle.dumps({"status": "SUCCESS", "result": Trap(trap)}))
    store(pickles, "set", {1, 2})
    store(pickles, "raised", ValueError("no luck"), "FAILURE")
    for app in (made(server), made(server, result_serializer="pickle", accept_content=["json"])):
        async with watcher.results(app) as results:
            for identity in ("trap", "set"):
                with pytest.raises((kombu.exceptions.ContentDisallowed, kombu.exceptions.DecodeError)):
                    await results.wait(identity, timeout=20)
    async with watcher.results(server.url(2)) as results:
        for identity in ("trap", "set"):
            with pytest.raises(ResultUnreadable, match="is not JSON"):
                await results.wait(identity, timeout=20)
    assert not trap.exists()
    async with watcher.results(pickles) as results:
        assert await results.wait("set", timeout=20) == {1, 2}
        with pytest.raises(ValueError, match="no luck"):
            await results.wait("raised", timeout=20)
        await results.wait("trap", timeout=20)
        assert trap.exists()  # it would have been seen


async def test_the_prefix_is_the_apps(server: Valkey) -> None:
    for prefix in ("mine", "mine:"):
        app = made(server, result_backend_transport_options={"global_keyprefix": prefix})
        store(app, f"prefixed-{prefix}", prefix)
        async with watcher.results(app) as results:
            assert await results.wait(f"prefixed-{prefix}", timeout=20) == prefix
        async with watcher.results(server.url(2), global_keyprefix=prefix) as results:
            assert await results.wait(f"prefixed-{prefix}", timeout=20) == prefix
        async with watcher.results(server.url(2)) as results:
            with pytest.raises(TimeoutError):
                await results.wait(f"prefixed-{prefix}", timeout=0.1)


async def test_compressed_results_are_read(server: Valkey) -> None:
    app = made(server, result_compression="gzip")
    if not getattr(app.backend, "compression", None):
        pytest.skip("this Celery doesn't compress results")
    store(app, "small", ["x"] * 1000)
    async with watcher.results(made(server)) as results:
        assert await results.wait("small", timeout=20) == ["x"] * 1000
    async with watcher.results(server.url(2)) as results:
        assert await results.wait("small", timeout=20) == ["x"] * 1000


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"status": 5}',
        b'{"status": "SUCCESS", "result": NaN}',
        b'{"status": "FAILURE", "result": {"exc_type": "system", "exc_module": "os", "exc_message": ["touch /x"]}}',
        b'{"status": "FAILURE", "result": {"exc_type": "SystemExit", "exc_module": "builtins", "exc_message": [1]}}',
        b'{"status": "FAILURE", "result": null}',
        b'{"status": "FAILURE"}',
        b'{"result": 5}',
    ],
)
async def test_malformed_result_raises_only_for_its_own_task(server: Valkey, payload: bytes) -> None:
    with server.client(2) as redis:
        redis.set("celery-task-meta-odd", payload)
    store(made(server), "even", 2)
    for given in (made(server), server.url(2)):
        async with watcher.results(given) as results:
            if b"NaN" in payload and not isinstance(given, str):
                assert await results.wait("odd", timeout=20) != 0  # Python's JSON has it
            else:
                with pytest.raises(Exception) as raised:  # noqa: PT011 - whichever, but told
                    await results.wait("odd", timeout=20)
                assert not isinstance(raised.value, TimeoutError)
            assert await results.wait("even", timeout=20) == 2


async def test_an_exception_that_would_end_the_program_is_only_told(server: Valkey) -> None:
    with server.client(2) as redis:
        exit_ = (
            b'{"status": "FAILURE", "result": {"exc_type": "SystemExit", "exc_module": "builtins", "exc_message": [3]}}'
        )
        redis.set("celery-task-meta-exit", exit_)
    async with watcher.results(made(server)) as results:
        with pytest.raises(TaskFailed, match="SystemExit: 3"):
            await results.wait("exit", timeout=20)
    assert issubclass(ResultUnreadable, ResultUnavailable)


async def test_result_from_before_a_resend_does_not_end_the_wait(server: Valkey) -> None:
    app = made(server)
    store(app, "twice", ValueError("the first time"), "FAILURE")
    journal = Journal(database=2)
    with server.client(2) as redis:
        append = redis.register_script(APPEND)

        def tell(number: int, state: str) -> None:
            told = event("twice", state, time.time(), sent=sent)
            keys, arguments = journal.append("w", number, [record(told)])
            append(keys=keys, args=arguments)

        sent = time.time() + 1e-3
        tell(1, "PENDING")
        async with watcher.results(app) as results:
            with pytest.raises(TimeoutError):
                await results.wait("twice", timeout=0.3)
            store(app, "twice", 42)
            tell(2, "SUCCESS")
            assert await results.wait("twice", timeout=20) == 42

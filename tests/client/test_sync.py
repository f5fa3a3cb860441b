"""`watcher.connect_sync`: blocking, from several threads."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import watcher
from tests.support.processes import Relay, free_port, program
from tests.support.ways import by_the_end
from watcher.client import RelayClosed, RelayUnreachable, SyncRelay


@pytest.fixture(scope="module")
def client(running: Relay) -> Iterator[SyncRelay]:
    with watcher.connect_sync(running.url) as connected:
        yield connected


def test_results_events_and_errors(client: SyncRelay) -> None:
    task = client.submit("tasks.add", 2, 3)
    assert by_the_end(event.state for event in task) == ["PENDING", "STARTED", "SUCCESS"]
    assert task.result(timeout=20) == 5
    assert client.task(task.id).result(timeout=20) == 5
    with pytest.raises(watcher.TaskFailed, match="RuntimeError: x"):
        client.submit("tasks.fail", "x").result(timeout=10)
    known = client.get(task.id)
    assert known is not None
    assert known.final
    assert client.get("nobody") is None
    with pytest.raises(TimeoutError):
        client.options(queue="nobody").submit("tasks.add", 1, 1).result(timeout=0.1)


def test_map_in_order_and_as_they_come(client: SyncRelay) -> None:
    assert list(client.map("tasks.test", range(20), limit=4)) == list(range(1, 21))
    assert sorted(client.starmap("tasks.add", [(1, 1), (2, 2)], ordered=False)) == [2, 4]


def test_many_threads_share_one_connection(client: SyncRelay) -> None:
    def work(number: int) -> int:
        return int(client.submit("tasks.add", number, number).result(timeout=20))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(64))) == [2 * number for number in range(64)]


def test_a_watch_in_a_thread(client: SyncRelay) -> None:
    with client.watch("tag:in-a-thread") as watch:
        task = client.options(tags=["in-a-thread"]).submit("tasks.add", 1, 2)
        for event in watch:
            if event.ends:
                break
        assert event.id == task.id
    assert task.sent is not None
    with client.watch("tag:in-a-thread", since=task.sent) as watch:
        assert next(watch).id == task.id


def test_leaving_the_block_ends_what_waits_in_other_threads(running: Relay) -> None:
    ends: list[BaseException] = []

    def wait() -> None:
        try:
            task.result()
        except RelayClosed as error:
            ends.append(error)

    with watcher.connect_sync(running.url) as client:
        task = client.options(queue="nobody").submit("tasks.add", 1, 1)
        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(10)
    assert len(ends) == 1
    with pytest.raises(RelayClosed):
        client.submit("tasks.add", 1, 1)


def test_no_relay_is_an_error() -> None:
    with pytest.raises(RelayUnreachable), watcher.connect_sync(f"http://127.0.0.1:{free_port()}"):
        pass


def test_ctrl_c_ends_a_wait(running: Relay) -> None:
    code = (
        "import sys, watcher\n"
        "with watcher.connect_sync(sys.argv[1]) as relay:\n"
        "    task = relay.options(queue='nobody').submit('tasks.add', 1, 1)\n"
        "    print('waiting', flush=True)\n"
        "    try: task.result()\n"
        "    except KeyboardInterrupt: print('interrupted', relay.get(task.id).state)\n"
    )
    with program(sys.executable, "-c", code, running.url) as script:
        script.wait_for_output("waiting")
        script.signal(signal.SIGINT)
        assert script.wait(30) == 0, script.output
        assert script.stdout.split() == ["waiting", "interrupted", "PENDING"]

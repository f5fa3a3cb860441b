"""The appender on servers of other versions, by other roads, and where a command has been taken away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.events import event, record
from tests.support.processes import free_port
from tests.support.redises import VERSIONS, Server, running
from watcher.journal.layout import Journal
from watcher.worker.publish.appender import Appender, JournalAway

JOURNAL = Journal()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_right_to_eval_is_needed(version: str) -> None:
    with running(version, "--rename-command", "EVAL", "") as server, server.client() as redis:
        appender = Appender(server.url(), JOURNAL)
        appender.append(1, [record(event("a", "STARTED"))])
        redis.script_flush()  # as a restart does
        appender.append(2, [record(event("b", "STARTED"))])
        assert set(redis.hkeys(JOURNAL.open)) == {b"a", b"b"}
        appender.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("state", ["a replica", "full", "too few replicas"])
def test_a_redis_that_takes_no_writes_is_not_the_batchs_fault(version: str, state: str) -> None:
    with running(version) as server, server.client() as redis:
        appender = Appender(server.url(), JOURNAL)
        appender.append(1, [record(event("a", "STARTED"))])
        if state == "a replica":
            redis.replicaof("127.0.0.1", str(free_port()))
        elif state == "full":
            redis.config_set("maxmemory", "1")
        else:
            redis.config_set("min-replicas-to-write", "1")
        with pytest.raises(JournalAway):
            appender.append(2, [record(event("b", "STARTED"))])
        redis.replicaof("no", "one")
        redis.config_set("maxmemory", "0")
        redis.config_set("min-replicas-to-write", "0")
        appender.append(2, [record(event("b", "STARTED"))])
        assert set(redis.hkeys(JOURNAL.open)) == {b"a", b"b"}
        appender.close()


def test_what_cannot_be_appended_there_is_held() -> None:
    with running("valkey", "--rename-command", "EVALSHA", "") as server:
        appender = Appender(server.url(), JOURNAL)
        with pytest.raises(JournalAway, match="unknown command"):
            appender.append(1, [record(event("a", "STARTED"))])
        appender.close()


@pytest.mark.parametrize("url", [lambda server: f"unix://{server.socket}?db=3", lambda server: server.url(3)])
def test_by_socket_and_by_tcp(url: Callable[[Server], str]) -> None:
    with running("valkey") as server, server.client(db=3) as redis:
        appender = Appender(url(server), Journal(database=3))
        appender.append(1, [record(event("a", "STARTED"))])
        assert redis.hkeys(JOURNAL.open) == [b"a"]
        appender.close()

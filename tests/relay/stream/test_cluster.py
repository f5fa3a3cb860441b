"""A node of a cluster holds the journal if the journal's slot is its own, and says so in one sentence if it isn't."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.events import event, record
from tests.support.processes import free_port, program, relay
from tests.support.redises import Server, running
from tests.support.waiting import wait_for
from watcher.journal.layout import Journal
from watcher.worker.publish.appender import Appender, JournalAway
from watcher.worker.publish.publisher import Publisher

JOURNAL = Journal()


class Cluster(NamedTuple):
    """Two nodes, the first of which has every slot."""

    owner: Server
    other: Server

    def give(self, to: Server) -> None:
        """Let a node have the journal's slot, which is empty."""
        with to.client() as node, self.owner.client() as owner, self.other.client() as other:
            slot, name = node.execute_command("CLUSTER KEYSLOT", JOURNAL.stream), node.execute_command("CLUSTER MYID")
            for each in (node, owner, other):  # whom it belongs to first
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", name)


@contextmanager
def cluster() -> Iterator[Cluster]:
    ports = free_port(), free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port")
    with running("valkey", *options, str(ports[0])) as owner, running("valkey", *options, str(ports[1])) as other:
        with owner.client() as redis, other.client() as second:
            redis.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            redis.execute_command("CLUSTER MEET", "127.0.0.1", other.port, ports[1])
            wait_for(lambda: knows(second), what="the second node to know the first one's slots")
        yield Cluster(owner, other)


def knows(node: Redis) -> bool:
    try:
        node.hlen(JOURNAL.open)
    except RedisError as error:
        return type(error).__name__ == "MovedError"
    return False


def test_cluster_node_without_the_journal_slot_is_refused() -> None:
    with cluster() as nodes:
        serve = [sys.executable, "-m", "watcher", "serve", "--port", "0"]
        with program(*serve, env={"WATCHER_REDIS_URL": nodes.other.url()}) as ended:
            assert ended.wait(60) == 3, ended.output
            told = ended.stderr.splitlines()[-1]
            assert (
                f"Redis at {nodes.other.url()} can't be used: it is a cluster node without the journal's keys" in told
            )
            assert f"is at 127.0.0.1:{nodes.owner.port}" in told
            assert "Traceback" not in ended.stderr
        with relay(None, env={"WATCHER_REDIS_URL": nodes.owner.url()}) as serving:
            appender = Appender(nodes.owner.url(), JOURNAL)
            appender.append(1, [record(event("here", "STARTED"))])
            appender.close()
            assert serving.ready()


def test_a_cluster_without_the_slot_is_not_reached() -> None:
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with running("valkey", *options) as server:
        serve = [sys.executable, "-m", "watcher", "serve", "--port", "0"]
        with program(*serve, env={"WATCHER_REDIS_URL": server.url()}) as ended:
            assert ended.wait(60) == 3, ended.output
            assert "can't be reached: " in ended.stderr.splitlines()[-1]
            assert "Traceback" not in ended.stderr


def test_a_publisher_that_is_told_moved_holds_its_events() -> None:
    with cluster() as nodes:
        appender = Appender(nodes.other.url(), JOURNAL)
        with pytest.raises(JournalAway, match="MovedError"):
            appender.append(1, [record(event("held", "STARTED"))])
        publisher = Publisher(nodes.other.url(), JOURNAL)
        publisher.publish(event("held", "STARTED"))
        assert not publisher.flush(1)
        nodes.give(nodes.other)
        assert publisher.flush(10)
        with nodes.other.client() as redis:
            assert redis.hget(JOURNAL.open, "held") is not None
        publisher.close()
        appender.close()

"""A worker's signs of life."""

from __future__ import annotations

import time

from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.journal.layout import Journal
from watcher.relay.safety_net.orphans import Workers
from watcher.worker.heartbeat import Heartbeat

JOURNAL = Journal()


def test_a_worker_says_when_it_started_and_that_it_is_there(valkey: Valkey) -> None:
    before = time.time()
    presence = Heartbeat(valkey.url(), JOURNAL, "celery@a", "5f3a9c1b")
    try:
        with valkey.client() as redis:
            beats = wait_for(lambda: redis.hgetall(JOURNAL.workers), what="a sign of life")
            (started, last) = map(float, beats[b"celery@a 5f3a9c1b"].split())
            assert before - 1 <= started <= time.time()
            assert abs(last - time.time()) < 5
            assert list(Workers(beats, time.time()).forgotten()) == []
            redis.delete(JOURNAL.workers)
            wait_for(lambda: redis.hgetall(JOURNAL.workers), what="another one")
    finally:
        presence.stop()
    presence._thread.join(5)
    assert not presence._thread.is_alive()


def test_a_server_that_is_away_ends_nothing() -> None:
    with valkey_server() as server:
        presence = Heartbeat(server.url(), JOURNAL, "celery@a", "5f3a9c1b")
        server.kill()
    with valkey_server(port=server.port) as again, again.client() as redis:
        wait_for(lambda: redis.hgetall(JOURNAL.workers), timeout=15, what="a sign of life at the server that came back")
    presence.stop()

"""A prefork pool whose processes are spawned, not forked: what macOS has, and Celery 5.7 where it is configured so."""

from __future__ import annotations

import pytest
from celery import VERSION

from tests.support.processes import worker
from tests.support.valkey import Valkey
from tests.worker.support import Reader, producer, states

pytestmark = pytest.mark.skipif(VERSION < (5, 7), reason="Celery 5.7 has the setting")


@pytest.mark.parametrize("how", ["installed", "included", "both"])
def test_every_state_is_told_from_a_spawned_pool(valkey: Valkey, reader: Reader, how: str) -> None:
    env = {
        "CELERY_BROKER_URL": valkey.url(1),
        "CELERY_RESULT_BACKEND": valkey.url(2),
        "WATCHER_REDIS_URL": valkey.url(0),
        "POOL_START_METHOD": "spawn",
    }
    here = {**env, "INSTALL": "0" if how == "included" else "1"}
    include = () if how == "installed" else ("-I", "watcher.worker")
    with (
        worker("tests.worker.app", *include, concurrency=1, env=here) as running,
        producer({**env, "INSTALL": "1"}) as sender,
    ):
        reader.wait(sender.send("add", 1, 2), "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        reader.wait(sender.send("fail", "boom"), "PENDING", "RECEIVED", "STARTED", "FAILURE")
        retried = reader.wait(sender.send("flaky"))
        assert states(retried) == ["PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS"]
        assert "PROGRESS" in states(reader.wait(sender.send("report", 20)))
        reader.wait(sender.send("ignore"), "PENDING", "RECEIVED", "STARTED", "IGNORED")
        reader.wait(sender.send("reject"), "PENDING", "RECEIVED", "STARTED", "REJECTED")
        tagged = reader.wait(sender.send("spawn", tags=("mine",)))
        assert tagged[-1].tags == ("mine",)
        lost = reader.wait(sender.send("vanish"))
        assert (lost[-1].state, lost[-1].reason) == ("FAILURE", "worker_lost")
        last = sender.send("pause", 0.2)
        reader.until(last, lambda seen: "STARTED" in seen)
        assert running.stop() == 0
        reader.wait(last, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        assert "watcher: events are missing" not in running.output

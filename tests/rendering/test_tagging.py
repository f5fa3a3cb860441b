"""Tags: where they come from, and what can't be one."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from celery import chain

import watcher
from tests.support.processes import ROOT, environment, free_port, worker
from tests.support.valkey import Valkey
from tests.worker.ends import HEADERS, TAGS, ids_of, scene
from tests.worker.support import Reader, producer
from watcher.rendering import tagging


def test_blocks_nest_and_end() -> None:
    with watcher.tags("a"):
        with watcher.tags("b", "c"):
            assert tagging.current() == ("a", "b", "c")
        assert tagging.current() == ("a",)
    assert tagging.current() == ()


def test_a_block_ends_with_an_error_too() -> None:
    with pytest.raises(RuntimeError), watcher.tags("a"):
        raise RuntimeError
    assert tagging.current() == ()


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("x" * 252, ValueError), (7, TypeError)])
def test_what_can_not_be_a_tag_is_refused_where_it_stands(name: str, error: type[Exception]) -> None:
    with pytest.raises(error), watcher.tags(name):
        pass


def test_stamps_are_tags() -> None:
    headers = {"watcher_tags": ["a"], "stamped_headers": ["user", "many"], "stamps": {"user": 42, "many": ["x", "y"]}}
    assert tagging.of_headers(headers) == ["user=42", "many=x", "many=y", "a"]
    assert tagging.of_task({"stamps": {}, "stamped_headers": None}) is None


def test_each_tag_counts_once_and_there_is_an_end() -> None:
    assert tagging.combined(["a", "b"], ["b", "", 7, "x" * 252]) == ("a", "b")
    assert len(tagging.combined(map(str, range(1000)))) == 64
    assert tagging.of_header({"watcher_tags": "one"}) == ["one"]
    assert tagging.of_header({"watcher_tags": 5}) == []


def test_a_process_without_the_plugin_tags_what_it_sends(valkey: Valkey) -> None:
    env = {
        "CELERY_BROKER_URL": valkey.url(1),
        "CELERY_RESULT_BACKEND": valkey.url(2),
        "WATCHER_REDIS_URL": valkey.url(0),
    }
    journal = Reader(valkey.url())
    with worker("tests.worker.app", "-I", "watcher.worker", env=env) as running, producer(env) as sender:
        task_id = sender.send("spawn", tags=("user:1",), headers={"watcher_tags": ["header"]})
        events = journal.wait(task_id, "RECEIVED", "STARTED", "SUCCESS")
        assert {event.tags for event in events} == {("header", "user:1")}
        assert {event.tags for event in journal.wait(sender.send("add", 1, 2))} == {None}, "the block has ended"
        for child in msgspec.json.decode(msgspec.json.encode(events[-1].result)):
            assert {event.tags for event in journal.wait(child)} == {("inner", "header", "user:1")}
        assert "events are missing" not in running.output
    journal.close()


def test_installing_later_leaves_one_hand_that_tags() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATER], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
        env=environment({"WATCHER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


LATER = """
from celery import Celery
from celery.signals import before_task_publish
import watcher

app = Celery(broker="memory://")
for _ in range(2):
    with watcher.tags("a"):
        assert len(before_task_publish.receivers) == 1
watcher.install(app)
with watcher.tags("b"):
    assert len(before_task_publish.receivers) == 1
"""


def test_stamps_are_a_tasks_own() -> None:
    steps = 80
    with scene("prefork") as stage:
        sigs = [stage.app.signature("n") for _ in range(steps)]
        for number, sig in enumerate(sigs):
            sig.stamp(step=f"{number}")
        ids = list(reversed(ids_of(chain(*sigs).apply_async(headers=HEADERS))))
        assert len(ids) == steps
        stage.journal.wait(ids[-1])
        for number, task_id in enumerate(ids):
            events = stage.journal.until(task_id, lambda seen: "SUCCESS" in seen)
            assert {event.tags for event in events} == {(f"step={number}", *TAGS)}


def test_what_never_ran_has_the_stamps_of_its_signature() -> None:
    options = {"stamped_headers": ["step"], "step": ["7"], "headers": {"watcher_tags": ["own"]}}
    assert tagging.of_signature(options, ["inherited"]) == ("step=7", "own", "inherited")
    assert tagging.of_signature({"stamped_headers": ["step"], "stamps": {"step": 7}}, []) == ("step=7",)
    assert tagging.of_signature({"stamped_headers": None, "headers": None}, []) is None

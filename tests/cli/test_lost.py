"""A task whose worker is gone, in a terminal: it doesn't look alive, and what comes late is said to be late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.stage import Stage
from tests.browser.stage import stage as open_stage
from tests.cli.calls import run, terminal

HALF = {"name": "tasks.resize", "hostname": "celery@w1", "queue": "celery"}


@pytest.fixture
def stage() -> Iterator[Stage]:
    with open_stage() as opened:
        opened.ping = 25
        yield opened


def lose(stage: Stage) -> None:
    stage.emit("one", "PROGRESS", **HALF, source="backend", reason="worker_lost")


def test_lost_task_shows_no_progress_until_redelivery(stage: Stage) -> None:
    stage.emit("one", "STARTED", **HALF)
    with terminal("watch", "one", url=stage.url, columns=110) as shown:
        shown.wait_for("STARTED")
        stage.emit("one", "PROGRESS", **HALF, meta={"current": 1, "total": 2})
        shown.wait_for(r"tasks\.resize one PROGRESS \[#+-+\] +50% \d+\.\d s$")
        lose(stage)
        shown.wait_for(r"PROGRESS tasks\.resize one worker_lost\n(.*\n)*tasks\.resize one LOST$")
        stage.emit("one", "PROGRESS", **HALF, meta={"current": 1, "total": 2}, run="b")
        shown.wait_for(r"tasks\.resize one PROGRESS \[#+-+\] +50% \d+\.\d s$")


def test_a_time_out_says_that_the_worker_is_gone(stage: Stage) -> None:
    stage.emit("one", "STARTED", **HALF)
    lose(stage)
    ended = run("watch", "one", "--timeout", "0.5", url=stage.url)
    assert ended.code == 124
    assert "it is PROGRESS on celery@w1, which is gone, queue 'celery'" in ended.err


def test_what_comes_late_is_said_to_be_late(stage: Stage) -> None:
    stage.emit("one", "STARTED", **HALF)
    stage.emit("one", "PENDING", **HALF, argsrepr="(2, 3)", kwargsrepr="{}", late=True)
    ended = run("watch", "one", "--timeout", "0.5", url=stage.url)
    told = {line.split()[1]: line.split()[-1] for line in ended.out.splitlines()}
    assert told == {"STARTED": "one", "PENDING": "late"}

"""`watcher up`: one command from nothing to a task's result, and nothing left of it afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.support.processes import ROOT, Program, environment, free_port
from tests.support.trees import alive, descendants, wait_until_gone
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for


class Up(Program):
    """`watcher up` in its own process."""

    pids: list[int]
    """All processes below it, at the time when it was ready."""


def at(port: int) -> dict[str, str]:
    """Environment of an app whose Redis is at this port."""
    return {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/15",
        "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{port}/14",
    }


@contextmanager
def up(*arguments: str, env: Mapping[str, str], app: str = "tasks", cwd: Path | None = None) -> Iterator[Up]:
    command = [sys.executable, "-m", "watcher", "up", "-A", app, "--port", "0", "--concurrency", "1", *arguments]
    running = Up(command, env=env, cwd=cwd)
    try:
        running.wait_for_output(r"http://127\.0\.0\.1:\d+/", timeout=30)
        running.pids = descendants(running.pid)
        yield running
    finally:
        running.close()


def python(script: str, env: Mapping[str, str]) -> str:
    """What a script of the app's user prints."""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, env=environment(env)
    )
    return ran.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_embedded_valkey_at_the_app_url_serves_a_script(number: signal.Signals) -> None:
    env = at(free_port())
    with up(env=env) as running:
        assert python("from tasks import test; print(test.delay(7).get(timeout=10))", env) == "8"
        assert "an embedded Valkey starts there" in running.stderr
        assert running.stdout.count("\n") == 1, "the address is all of its output"
        started = time.monotonic()
        running.signal(number)
        assert running.wait(10) == 0, running.output
        assert time.monotonic() - started < 10
        assert not alive(running.pids)
        assert "Traceback" not in running.stderr


def test_redis_on_loopback_that_answers_is_used(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with up(env=tasks_env) as running:
        assert "embedded" not in running.stderr
        assert python("from tasks import test; print(test.delay(7).get(timeout=10))", tasks_env) == "8"
        assert running.stop(10) == 0, running.output


def test_redis_of_another_machine_is_left_alone() -> None:
    # 192.0.2.0/24 is for documentation: whoever connected there would wait.
    env = {"CELERY_BROKER_URL": "redis://192.0.2.1/15", "CELERY_RESULT_BACKEND": "redis://192.0.2.1/14"}
    with up(env=env) as running:
        assert "redis://192.0.2.1/15, which is not on this machine" in running.stderr
        port = int(running.wait_for_output(r"embedded Valkey is at redis://127\.0\.0\.1:(\d+)")[1])
        assert python("from tasks import test; print(test.delay(7).get(timeout=10))", at(port)) == "8"
        assert running.stop(10) == 0, running.output


def test_running_task_may_finish(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with up(env=tasks_env) as running:
        task = python("from tasks import sleep; print(sleep.delay(2).id)", tasks_env)
        running.wait_for_output(f"{task}.* received")
        assert running.stop(10) == 0, running.output
    with Redis.from_url(valkey.url(14)) as redis:
        assert b'"status": "SUCCESS"' in (redis.get(f"celery-task-meta-{task}") or b"")


@pytest.mark.slow
def test_task_that_takes_too_long_is_ended_within_ten_seconds() -> None:
    env = at(free_port())
    with up(env=env) as running:
        python("from tasks import sleep; sleep.delay(60)", env)
        running.wait_for_output("received")
        started = time.monotonic()
        assert running.stop(12) == 0, running.output
        assert 6 < time.monotonic() - started < 10
        assert not alive(running.pids)


def test_second_signal_does_not_wait_for_running_tasks() -> None:
    env = at(free_port())
    with up(env=env) as running:
        python("from tasks import sleep; sleep.delay(60)", env)
        running.wait_for_output("received")
        running.signal(signal.SIGINT)
        running.wait_for_output("Warm shutdown")
        started = time.monotonic()
        running.signal(signal.SIGINT)
        assert running.wait(10) == 0, running.output
        assert time.monotonic() - started < 5
        assert not alive(running.pids)


def test_nothing_outlives_it_when_it_is_killed() -> None:
    with up(env=at(free_port())) as running:
        assert len(running.pids) >= 5, "two guards, Valkey, worker and its pool"
        running.kill()
        wait_until_gone(running.pids)


@pytest.mark.slow
def test_data_is_kept_where_it_is_told_to(tmp_path: Path) -> None:
    env = at(free_port())
    with up("--data", str(tmp_path / "kept"), env=env) as running:
        task = python("from tasks import test; r = test.delay(1); r.get(timeout=10); print(r.id)", env)
        assert running.stop(10) == 0, running.output
    with up("--data", str(tmp_path / "kept"), env=env):
        script = f"import tasks; print(tasks.test.AsyncResult('{task}').get(timeout=10))"
        assert python(script, env) == "2"


def test_taken_port_makes_way_for_the_next(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up("--port", str(port), env=tasks_env) as running:
            assert f"port {port} is in use; the next free one is" in running.stderr
            assert f":{port}/" not in running.stdout


def test_worker_that_dies_ends_it_with_a_line(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with up(env=tasks_env) as running:
        (guard,) = [pid for pid in running.pids if _parent(pid) == running.pid]  # of the worker: there is no other
        os.kill(descendants(guard)[0], signal.SIGKILL)
        assert running.wait(10) == 1, running.output
        assert "watcher: the worker exited unexpectedly (code 137)" in running.stderr
        assert "Traceback" not in running.stderr
        assert not alive(running.pids)


def _parent(pid: int) -> int:
    asked = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(asked.stdout)


def test_worker_that_can_not_start_ends_it_with_a_line(tmp_path: Path, valkey: Valkey) -> None:
    (tmp_path / "proj.py").write_text(f"from celery import Celery\napp = Celery('proj', broker='{valkey.url()}')\n")
    command = [sys.executable, "-m", "watcher", "up", "-A", "proj", "--port", "0", "--pool", "nothing"]
    running = Program(command, cwd=tmp_path)
    try:
        assert running.wait(20) == 1, running.output
        assert "watcher: the worker exited unexpectedly (code 2)" in running.stderr
        assert running.stdout == ""
    finally:
        running.close()


def test_embedded_server_that_dies_ends_it_with_a_line() -> None:
    port = free_port()
    with up(env=at(port)) as running:
        with Redis(port=port) as redis:
            os.kill(int(redis.info("server")["process_id"]), signal.SIGKILL)
        assert running.wait(15) == 1, running.output
        assert "watcher: the embedded Valkey exited unexpectedly" in running.stderr
        wait_until_gone(running.pids)


def test_named_redis_that_does_not_answer_is_exit_code_3() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    running = Program([sys.executable, "-m", "watcher", "up", "-A", "tasks", "--port", "0", "--redis-url", url])
    try:
        assert running.wait(20) == 3, running.output
        assert running.stderr == f"watcher: no Redis answers at {url}\n"
    finally:
        running.close()


def test_signal_during_the_start_ends_it_cleanly(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import sys, time\nfrom celery import Celery\nprint('importing', flush=True)\ntime.sleep(30)\napp = Celery()\n"
    )
    running = Program([sys.executable, "-m", "watcher", "up", "-A", "slow"], cwd=tmp_path)
    try:
        running.wait_for_output("importing")
        assert running.stop(5) == 0, running.output
        assert running.stderr == ""
    finally:
        running.close()


def test_settings_given_as_options_reach_the_worker(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    with up("--namespace", "elsewhere", env=tasks_env):
        python("from tasks import test; test.delay(7).get(timeout=10)", {**tasks_env, "WATCHER_ENABLED": "0"})
        with Redis.from_url(valkey.url(14)) as redis:
            journal = wait_for(lambda: redis.keys("{elsewhere}:*"), what="the worker to write to that namespace")
            assert not redis.keys("{watcher}:*"), journal

"""`watcher submit`, with each of its exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.cli.calls import WATCHER, run
from tests.support.processes import ROOT, Relay, environment, free_port, program, relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from watcher.core.permissions import issue
from watcher.journal.layout import Journal, entry

#: More than a parser of JSON takes.
DEEP = "[" * 50_000
SECRET = "0123456789abcdef0123456789abcdef"


def test_it_prints_the_result_as_json(serving: Relay) -> None:
    assert run("submit", "tasks.add", "2", "3", url=serving.url) == (0, "5\n", "")
    assert run("submit", "tasks.word_count", "three words here", url=serving.url) == (0, "3\n", "")
    assert run("submit", "tasks.add", "--args", "[1]", "--kwargs", '{"y": 2}', url=serving.url) == (0, "3\n", "")
    assert run("submit", "--url", serving.url, "tasks.add", "--", "-2", "1.5") == (0, "-0.5\n", "")


def test_failure_is_1_and_told_on_stderr(serving: Relay) -> None:
    code, out, err = run("submit", "tasks.fail", "no luck", url=serving.url)
    assert (code, out) == (1, "")
    assert err.startswith("watcher: task tasks.fail[")
    assert "RuntimeError: no luck" in err
    assert "raise RuntimeError" in err


def test_how_else_a_task_may_end(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    env = {**tasks_env, "WATCHER_NAMESPACE": "ends"}
    with (
        worker("tests.worker.app", "-I", "watcher.worker", env=env) as working,
        relay("tests.worker.app", env=env) as serving,
    ):
        assert run("submit", "ignore", url=serving.url) == (0, "null\n", ""), working.output
        for task, option, word in (
            ("reject", "", "was rejected"),
            ("add", "--expires=2020-01-01T00:00:00Z", "expired"),
        ):
            code, out, err = run("submit", task, *(["1", "2", option] if option else []), url=serving.url)
            assert (code, out, len(err.splitlines())) == (1, "", 1)
            assert word in err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("tasks.add", "--nothing"),
        ("tasks.add", "--kwargs", "[]"),
        ("tasks.add", "--kwargs", "{"),
        ("tasks.add", "1", "--args", "[1]"),
        ("tasks.add", "-", "--task-id", "x"),
        ("tasks.add", "--timeout", "0"),
        ("tasks.add", "--timeout", "nan"),
        ("tasks.add", "--countdown", "inf"),
        ("tasks.add", "--args", DEEP),
        ("tasks.add", "1", "2", "--url", "redis://x"),
    ],
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    code, out, err = run("submit", *arguments)
    assert (code, out) == (2, "")
    assert 0 < len(err) < 500


def test_no_relay_is_3() -> None:
    code, out, err = run("submit", "tasks.add", "1", "2", url=f"http://127.0.0.1:{free_port()}")
    assert (code, out) == (3, "")
    assert err.startswith("watcher: the relay at ws://127.0.0.1:")
    assert len(err.splitlines()) == 1


def test_no_broker_is_3(own_env: dict[str, str]) -> None:
    away = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with relay("tasks", env={**own_env, **away, "WATCHER_NAMESPACE": "away"}) as lonely:
        code, out, err = run("submit", "tasks.add", "1", "2", url=lonely.url)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("tasks.nothing",), "tasks.nothing"),
        (("tasks.add", "1"), "'y'"),
        (("tasks.add", "1", "2", "--eta", "x"), "eta"),
        (("tasks.add", "1", "2", "--expires", "inf"), "expires"),
        (
            ("tasks.add", DEEP, "2"),
            "'x': expected a number, not a string",
        ),  # it doesn't parse as JSON, so it is a string
    ],
)
def test_refused_is_4(serving: Relay, arguments: tuple[str, ...], word: str) -> None:
    code, out, err = run("submit", *arguments, url=serving.url)
    assert (code, out) == (4, "")
    assert word in err


def test_tokens(own_env: dict[str, str]) -> None:
    with relay("tasks", env={**own_env, "WATCHER_SECRET": SECRET}) as guarded:
        assert run("submit", "tasks.add", "1", "2", url=guarded.url).code == 4
        token = issue(SECRET, submit=["tasks.add"])
        assert run("submit", "tasks.add", "1", "2", "--token", token, url=guarded.url)[:2] == (0, "3\n")
        assert run("submit", "tasks.test", "1", url=guarded.url, WATCHER_TOKEN=token).code == 4


def test_time_out_is_124_and_leaves_the_task(serving: Relay) -> None:
    ended = run("submit", "tasks.add", "1", "2", "--countdown", "60", "--timeout", "0.3", url=serving.url)
    assert (ended.code, ended.out) == (124, "")
    assert "left running" in ended.err
    ended = run("submit", "tasks.add", "1", "2", "--queue", "nobody", "--timeout", "1", url=serving.url)
    assert ended.code == 124
    assert re.search(r"(?m)^watcher: task \S+ left running: it is PENDING, queue 'nobody'$", ended.err), ended.err


def test_a_misspelled_task_is_named(serving: Relay) -> None:
    ended = run("submit", "tasks.ad", "1", "2", url=serving.url)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == "watcher: no task 'tasks.ad' is registered; did you mean 'tasks.add'?\n"


def test_no_wait_prints_the_id(serving: Relay) -> None:
    identity = f"cli-{time.time_ns()}"
    ended = run("submit", "tasks.add", "1", "2", "--no-wait", "--task-id", identity, "--tag", "t", url=serving.url)
    assert ended == (0, f"{identity}\n", "")
    again = run("submit", "tasks.add", "1", "2", "--task-id", identity, "--tag", "t", "--json", url=serving.url)
    events = again.lines
    # RECEIVED and STARTED are told by different processes.
    assert {event["data"]["state"] for event in events} == {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
    assert events[-1]["data"]["state"] == "SUCCESS"
    assert set(events[0]) == {"epoch", "offset", "channel", "data"}
    assert {event["channel"] for event in events} == {f"task:{identity}"}
    assert events[0]["data"]["tags"] == ["t"]


def told(serving: Relay, **query: str) -> list[dict[str, Any]]:
    """What the relay says of tasks."""
    tasks: list[dict[str, Any]] = httpx.get(f"{serving.url}/api/tasks", params=query).json()["tasks"]
    return tasks


def test_options_reach_the_task(serving: Relay) -> None:
    tag = f"options-{time.time_ns()}"
    sending = ("submit", "tasks.add", "1", "2", "--no-wait", "--queue", "nobody", "--tag", tag)
    others = (
        "--tag",
        "b",
        "--eta",
        "2040-01-02T03:04:05+00:00",
        "--expires",
        "2041-01-02T03:04:05Z",
        "--priority",
        "3",
    )
    assert run(*sending, *others, url=serving.url).code == 0
    (task,) = told(serving, tag=tag)
    assert (task["queue"], task["tags"]) == ("nobody", [tag, "b"])
    assert task["eta"].startswith("2040-01-02T03:04:05")
    assert task["expires"].startswith("2041-01-02T03:04:05")
    assert run(*sending, "--countdown", "60", "--expires", "90", url=serving.url).code == 0
    eta, expires = (datetime.fromisoformat(told(serving, tag=tag)[0][field]) for field in ("eta", "expires"))
    assert 29 <= (expires - eta).total_seconds() <= 31


def test_json_is_the_events_as_they_are_in_the_journal(serving: Relay, own_env: dict[str, str]) -> None:
    """Byte for byte, whatever is in them."""
    out = run("submit", "tasks.fail", "1e400 \\u0041 snö ☃\n", "--json", url=serving.url).out
    out += run("submit", "tasks.add", "12345678901234567890", "0.1", "--json", url=serving.url).out
    with Redis.from_url(own_env["CELERY_RESULT_BACKEND"]) as redis:
        stored = {line for raw in redis.xrange(Journal("watcher", 14).stream) for line in entry(raw).lines}
    shown = [line.partition(b',"data":')[2].removesuffix(b"}") for line in out.encode().splitlines()]
    assert len(shown) == 8
    assert set(shown) <= stored


def test_no_more_lines_than_the_limit_are_under_way(serving: Relay) -> None:
    tag = f"limit-{time.time_ns()}"
    stdin = "".join(f"[{number}, 1]\n" for number in range(10))
    sending = ("submit", "tasks.add", "-", "--queue", "nobody", "--tag", tag)
    ended = run(*sending, "--limit", "3", "--timeout", "3", url=serving.url, stdin=stdin)
    assert (ended.code, ended.out) == (124, "")
    assert "3 tasks left running: 3 PENDING, queue 'nobody'" in ended.err
    assert len(told(serving, tag=tag)) == 3


def test_lines_are_submitted_as_they_come_over_one_connection(serving: Relay) -> None:
    """Each answer is there before the next line is written, and Ctrl-C revokes what is under way."""
    tag = f"pipe-{time.time_ns()}"
    command = [*WATCHER, "submit", "tasks.sleep", "-", "--tag", tag, "--revoke-on-interrupt"]
    env = environment({"WATCHER_URL": serving.url})

    def connections() -> float:
        metrics = httpx.get(f"{serving.url}/metrics").text
        return float(metrics.partition("\nwatcher_websocket_connections ")[2].partition("\n")[0])

    before = connections()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=ROOT) as running:
        assert running.stdin
        assert running.stdout
        for number in range(3):
            running.stdin.write(f"[0.{number}]\n")
            running.stdin.flush()
            assert running.stdout.readline() == f"0.{number}\n"
        running.stdin.write("[60]\n[60.5]\n")
        running.stdin.flush()
        wait_for(lambda: len(told(serving, tag=tag, state="STARTED")) == 2, what="both to run")
        assert connections() == before + 1
        running.send_signal(signal.SIGINT)  # standard input is still open
        assert running.wait(30) == 130
        assert running.stderr
        assert "2 tasks revoked" in running.stderr.read()
    wait_for(lambda: len(told(serving, tag=tag, state="REVOKED")) == 2, what="both to be revoked")


def test_lines_of_stdin_give_lines_in_the_same_order(serving: Relay) -> None:
    stdin = "".join(f"[{number}, 1]\n" for number in range(120))
    ended = run("submit", "tasks.add", "-", "--limit", "20", url=serving.url, stdin=stdin)
    assert ended == (0, "".join(f"{number + 1}\n" for number in range(120)), "")


def test_lines_that_fail_are_empty_and_named(serving: Relay) -> None:
    ended = run("submit", "tasks.add", "-", url=serving.url, stdin='[1, 1]\n["a", 1]\n[2, 2]')
    assert (ended.code, ended.lines) == (4, [2, None, 4])
    assert ended.err.startswith("watcher: line 2: argument 'x'")
    ended = run("submit", "tasks.fail", "-", url=serving.url, stdin='["a"]\n["b"]\n')
    assert (ended.code, ended.lines) == (1, [None, None])
    ended = run("submit", "tasks.nothing", "-", url=serving.url, stdin="[1]\n" * 50)
    assert (ended.code, ended.out) == (4, "")
    assert len(ended.err.splitlines()) == 1


def test_a_line_that_is_no_array_ends_it_after_those_before(serving: Relay) -> None:
    for line in ("{}", "[1", "", DEEP, '["\\ud800"]', "[NaN]"):
        ended = run("submit", "tasks.add", "-", url=serving.url, stdin=f"[1, 1]\n{line}\n[2, 2]\n")
        assert (ended.code, ended.lines) == (2, [2])
        assert "line 2" in ended.err


def test_unordered_and_json(serving: Relay) -> None:
    stdin = "[0.8]\n[0.0]\n"
    assert run("submit", "tasks.sleep", "-", "--unordered", url=serving.url, stdin=stdin).lines == [0.0, 0.8]
    ended = run("submit", "tasks.fail", "-", "--json", url=serving.url, stdin='["a"]\n["b"]\n')
    assert ended.code == 1
    assert [line["data"]["exception"]["message"] for line in ended.lines] == ["a", "b"]


@pytest.mark.parametrize("revoke", [(), ("--revoke-on-interrupt",)])
def test_ctrl_c_leaves_the_task_unless_asked_to_revoke(serving: Relay, revoke: tuple[str, ...]) -> None:
    identity = f"interrupted-{time.time_ns()}"
    command = ("submit", "tasks.sleep", "2", "--task-id", identity, "--json", *revoke)
    with program(*WATCHER, *command, env={"WATCHER_URL": serving.url}) as running:
        running.wait_for_output("STARTED")
        running.signal(signal.SIGINT)
        assert running.wait(30) == 130, running.output
        assert ("revoked" if revoke else "left running") in running.stderr
    last = json.loads(run("watch", identity, "--json", url=serving.url).out.splitlines()[-1])["data"]
    assert last["state"] == ("REVOKED" if revoke else "SUCCESS")


def test_submit_gets_all_results_after_a_relay_crash(serving: Relay, own_env: dict[str, str]) -> None:
    port, tag = free_port(), f"killed-{time.time_ns()}"
    options = ("--countdown", "2.5", "--tag", tag)
    with relay("tasks", port=port, env=own_env) as first, ThreadPoolExecutor(3) as pool:
        single = pool.submit(run, "submit", "tasks.add", "1", "2", *options, url=first.url)
        stdin = "".join(f"[{number}, 1]\n" for number in range(100))
        many = pool.submit(run, "submit", "tasks.add", "-", *options, url=first.url, stdin=stdin)
        wait_for(lambda: len(told(serving, tag=tag, limit="200")) == 101, what="all to be submitted")
        first.kill()
        with relay("tasks", port=port, env=own_env):
            assert single.result(40)[:2] == (0, "3\n")
            assert many.result(40)[:2] == (0, "".join(f"{number + 1}\n" for number in range(100)))

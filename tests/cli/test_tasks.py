"""`watcher list`, `get`, `count` and `revoke`."""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

import httpx
import pytest

from tests.cli.calls import WATCHER, Ended, run, terminal, within
from tests.support.gate import gate
from tests.support.processes import ROOT, Relay, environment, free_port
from tests.support.waiting import wait_for
from watcher.cli.list import _ids
from watcher.client import Snapshot


class Some(NamedTuple):
    """Tasks of one tag: one that succeeded, then one that failed, then one that waits."""

    tag: str
    good: str
    bad: str
    waiting: str


@pytest.fixture(scope="module")
def some(serving: Relay) -> Some:
    tag = "listed"

    def submit(name: str, *args: object, wait: bool = True, **options: object) -> str:
        headers = {"Prefer": "wait=30"} if wait else {}
        body = {"task": name, "args": args, "options": {"tags": [tag], **options}}
        return str(httpx.post(f"{serving.url}/api/tasks", json=body, headers=headers, timeout=40).json()["id"])

    made = Some(
        tag,
        submit("tasks.add", 1, 2),
        submit("tasks.fail", "no\x1b[31m money"),
        submit("tasks.add", 3, 4, wait=False, queue="nobody"),
    )
    wait_for(lambda: len(listed(serving, "--ids", f"tag:{tag}").out.split()) == 3, what="the list to have them")
    return made


def listed(serving: Relay, *arguments: str) -> Ended:
    return within("list", *arguments, url=serving.url)


def test_a_list_is_a_table_with_the_newest_first(serving: Relay, some: Some) -> None:
    ended = listed(serving, f"tag:{some.tag}")
    assert (ended.code, ended.err) == (0, "")
    titles, *rows = [line.split() for line in ended.out.splitlines()]
    assert titles == ["AGE", "STATE", "NAME", "ID", "WORKER", "RUNTIME", "ERROR"]
    assert [row[1:4] for row in rows] == [
        ["PENDING", "tasks.add", some.waiting],
        ["FAILURE", "tasks.fail", some.bad],
        ["SUCCESS", "tasks.add", some.good],
    ]
    assert " ".join(rows[1][6:]) == r"RuntimeError: no\x1b[31m money"
    assert rows[0][4:] == ["-", "-", "-"]


def test_a_list_is_filtered_sorted_and_bounded(serving: Relay, some: Some) -> None:
    tag = f"tag:{some.tag}"
    assert listed(serving, "--ids", tag, "state:failed").out == f"{some.bad}\n"
    assert listed(serving, "--ids", tag, "-state:failed").out == f"{some.waiting}\n{some.good}\n"
    assert listed(serving, "--ids", tag, "--sort", "sent").out.split() == [some.waiting, some.bad, some.good]
    bounded = listed(serving, tag, "--limit", "1")
    assert [line.split()[3] for line in bounded.out.splitlines()] == ["ID", some.waiting]
    assert bounded.err == "watcher: there are more than these 1; --limit 0 lists all\n"
    assert len(listed(serving, "--ids", tag, "--limit", "0").out.split()) == 3
    none = listed(serving, tag, "name:nothing")
    assert (none.code, none.out, none.err) == (0, "", "watcher: no task matches\n")


def test_json_is_a_task_a_line_as_http_has_it(serving: Relay, some: Some) -> None:
    lines = listed(serving, "--json", f"tag:{some.tag}").lines
    assert [line["id"] for line in lines] == [some.waiting, some.bad, some.good]
    assert lines[1] == httpx.get(f"{serving.url}/api/tasks/{some.bad}").json()
    assert listed(serving, "--json", "name:nothing").out == ""


def test_an_id_is_one_line_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands behind a line end would be another id, and another task would be revoked."""
    ids = ["a", "a\nb", " a", "a\r", "-", "", "--terminate", "写"]
    written = _ids([Snapshot(json.dumps({"id": each}).encode()) for each in ids])
    assert written.decode() == "a\n--terminate\n写\n"
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_csv_is_that_of_http(serving: Relay, some: Some) -> None:
    asked = {"filter": f"tag:{some.tag}", "format": "csv"}
    of_http = httpx.get(f"{serving.url}/api/tasks", params=asked).text
    assert of_http.count("\n") == 4
    done = subprocess.run(
        [*WATCHER, "list", "--csv", f"tag:{some.tag}"], capture_output=True, check=True, cwd=ROOT,
        env=environment({"WATCHER_URL": serving.url}),
    )  # fmt: skip
    assert done.stdout.decode() == of_http


def test_a_terminal_has_colours_and_its_own_width(serving: Relay, some: Some) -> None:
    with terminal("list", f"tag:{some.tag}", url=serving.url, columns=79) as shown:
        assert shown.wait() == 0
        assert shown.lines[0].split() == ["AGE", "STATE", "NAME", "ID", "ERROR"]
        assert [line.split()[3] for line in shown.lines[1:]] == [some.waiting, some.bad, some.good]
        assert b"\x1b[31mFAILURE" in shown.sent
    with terminal("list", f"tag:{some.tag}", url=serving.url, columns=79, NO_COLOR="1") as shown:
        assert shown.wait() == 0
        assert b"\x1b" not in shown.sent


def test_a_reader_that_leaves_ends_a_list_quietly(serving: Relay, some: Some) -> None:
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *WATCHER, "list", f"tag:{some.tag}"], capture_output=True, text=True, cwd=ROOT,
        env=environment({"WATCHER_URL": serving.url}), timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["AGE", "STATE", "NAME", "ID", "WORKER", "RUNTIME", "ERROR"]
    assert (done.stderr, done.returncode in (0, 141)) == ("", True)


def test_a_task_is_shown(serving: Relay, some: Some) -> None:
    ended = within("get", some.good, url=serving.url)
    assert (ended.code, ended.err) == (0, "")
    told = dict(line.split(None, 1) for line in ended.out.split("\n\n")[0].splitlines())
    assert {name: told[name] for name in ("State", "Name", "Id", "Arguments", "Tags")} == {
        "State": "SUCCESS", "Name": "tasks.add", "Id": some.good, "Arguments": "(1, 2)", "Tags": some.tag,
    }  # fmt: skip
    assert ended.out.endswith("\nResult\n  3\n")
    failed = within("get", some.bad, url=serving.url)
    assert failed.code == 0
    assert "\nTraceback\n  Traceback (most recent call last):\n" in failed.out
    assert "\x1b" not in failed.out
    as_json = within("get", some.bad, "--json", url=serving.url)
    assert as_json.lines == [httpx.get(f"{serving.url}/api/tasks/{some.bad}").json()]


def test_a_task_that_nobody_knows_is_4(serving: Relay) -> None:
    ended = within("get", "nobody", url=serving.url)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == "watcher: task nobody not found, neither by the relay nor in the result backend\n"


def test_a_count_is_a_number_and_by_something_a_table(serving: Relay, some: Some) -> None:
    tag = f"tag:{some.tag}"
    assert within("count", tag, url=serving.url).out == "3\n"
    assert within("count", tag, "name:nothing", url=serving.url).out == "0\n"
    assert within("count", tag, "--json", url=serving.url).lines == [{"count": 3}]
    by_name = within("count", tag, "--by", "name", url=serving.url)
    assert [line.split() for line in by_name.out.splitlines()] == [
        ["COUNT", "NAME"],
        ["2", "tasks.add"],
        ["1", "tasks.fail"],
    ]
    both = within("count", tag, "--by", "state,error", "--json", url=serving.url).lines
    assert sorted(both, key=str) == [
        {"state": "FAILURE", "error": "RuntimeError", "count": 1},
        {"state": "PENDING", "error": None, "count": 1},
        {"state": "SUCCESS", "error": None, "count": 1},
    ]
    assert within("count", tag, "--by", "error", url=serving.url).out.splitlines() == [
        "COUNT  ERROR",
        "    2  -",
        "    1  RuntimeError",
    ]


def test_tasks_are_revoked_and_each_is_told_of(serving: Relay, some: Some) -> None:
    ended = within("revoke", some.good, "nobody", some.waiting, url=serving.url)
    assert ended.out.splitlines() == [
        f"{some.good} had ended: SUCCESS",
        "nobody unknown, or not yours to see; the workers were told",
        f"{some.waiting} revoked",
    ]
    assert (ended.code, ended.err) == (4, "")
    assert within("revoke", some.good, some.good, url=serving.url) == (0, f"{some.good} had ended: SUCCESS\n", "")


def test_a_list_of_ids_is_revoked(serving: Relay, own_env: dict[str, str]) -> None:
    with gate(own_env["CELERY_RESULT_BACKEND"]) as held:
        sent = run("submit", "tasks.wait", held.name, "--no-wait", "--tag", "piped", url=serving.url).out.strip()
        wait_for(lambda: listed(serving, "--ids", "tag:piped", "state:running").out, what="the task to run")
        script = '"$@" list --ids state:running tag:piped | "$@" revoke - --terminate'
        done = subprocess.run(
            ["bash", "-c", script, "bash", *WATCHER], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
            env=environment({"WATCHER_URL": serving.url}),
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{sent} revoked, terminated if running\n", "")
        ended = httpx.get(f"{serving.url}/api/tasks/{sent}", params={"wait": 30}, timeout=40).json()
    assert (ended["state"], ended["reason"]) == ("REVOKED", "terminated")


@pytest.mark.parametrize("command", [("list",), ("get", "x"), ("count",), ("revoke", "x")])
def test_no_relay_is_3(command: tuple[str, ...]) -> None:
    ended = within(*command, url=f"http://127.0.0.1:{free_port()}")
    assert (ended.code, ended.out) == (3, "")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("get",), ("revoke",), ("revoke", "-", "x"), ("list", "--limit", "-1"), ("list", "--sort", "x")]
)
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    ended = within(*arguments, url="http://127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")

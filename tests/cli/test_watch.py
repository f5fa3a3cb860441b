"""`watcher watch` and `watcher token`."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time

import httpx
import jwt
import pytest

from tests.cli.calls import WATCHER, run, within
from tests.support.processes import ROOT, Relay, environment, free_port, program, relay
from tests.support.waiting import wait_for
from watcher.core.keyring import Key, Keyring
from watcher.core.permissions import grant, issue

SECRET = "0123456789abcdef0123456789abcdef"


def submitted(serving: Relay, *arguments: str) -> str:
    ended = run("submit", "--no-wait", *arguments, url=serving.url)
    assert ended.code == 0, ended
    return ended.out.strip()


def test_tasks_are_told_to_their_end(serving: Relay) -> None:
    good, bad = submitted(serving, "tasks.add", "1", "2"), submitted(serving, "tasks.fail", "x")
    ended = run("watch", good, url=serving.url)
    assert ended.code == 0
    assert sorted(line.split()[1:4] for line in ended.out.splitlines()) == [
        [state, "tasks.add", good] for state in ("PENDING", "RECEIVED", "STARTED", "SUCCESS")
    ]
    ended = run("watch", good, f"task:{bad}", url=serving.url)
    assert ended.code == 1
    assert "RuntimeError: x" in ended.out
    assert ended.err == ""


def test_json_is_the_events_unchanged(serving: Relay) -> None:
    identity = submitted(serving, "tasks.add", "1", "2")
    one = run("watch", identity, "--json", url=serving.url)
    first, *_, last = one.lines
    rest = run("watch", identity, "--json", "--since", f"{first['epoch']}:{first['offset']}", url=serving.url)
    assert one.out.splitlines()[1:] == rest.out.splitlines()
    assert httpx.get(f"{serving.url}/api/tasks/{identity}").json()["result"] == last["data"]["result"] == 3


def test_a_channel_goes_on_until_it_is_left(serving: Relay) -> None:
    tag = f"watched-{time.time_ns()}"
    with program(*WATCHER, "watch", f"tag:{tag}", "tasks", "--json", env={"WATCHER_URL": serving.url}) as running:
        while not running.stdout:
            submitted(serving, "tasks.add", "1", "2", "--tag", tag)
        running.wait_for_output("SUCCESS")
        running.signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert running.stderr == ""
        offsets = [json.loads(line)["offset"] for line in running.stdout.splitlines()]
    assert len(set(offsets)) == len(offsets)


def test_a_reader_that_leaves_ends_it_quietly(serving: Relay) -> None:
    identity = submitted(serving, "tasks.add", "1", "2")
    command = f"{' '.join(WATCHER)} watch {identity} --json | head -n 1"
    env = environment({"WATCHER_URL": serving.url})
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=env, cwd=ROOT, timeout=20, check=True
    )
    assert json.loads(done.stdout)["data"]["state"] == "PENDING"
    assert done.stderr == ""


def test_a_time_out_says_where_the_tasks_are(serving: Relay) -> None:
    sent = run("submit", "tasks.add", "1", "2", "--queue", "nobody", "--no-wait", url=serving.url)
    identity = sent.out.strip()
    done = run("submit", "tasks.add", "1", "2", "--no-wait", url=serving.url).out.strip()
    ended = run("watch", identity, done, "--timeout", "2", url=serving.url)
    assert ended.code == 124
    assert (
        ended.err
        == f"watcher: task {identity} has not ended: it is PENDING, queue 'nobody'\nwatcher: timed out after 2 s\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nobody",), 4),
        (("tag:nothing", "--timeout", "0.3"), 124),
        (("tasks", "--since", "7"), 2),
        (("tasks", "--since", "x:y"), 2),
        (("tasks", "--since", f"x:{'9' * 5000}"), 2),
    ],
)
def test_exit_codes(serving: Relay, arguments: tuple[str, ...], code: int) -> None:
    ended = run("watch", *arguments, url=serving.url)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err


def test_tokens(own_env: dict[str, str]) -> None:
    """By option or variable; what no claim grants is refused."""
    with relay("tasks", env={**own_env, "WATCHER_SECRET": SECRET}) as guarded:
        assert run("watch", "tag:mine", "--timeout", "1", url=guarded.url).code == 4
        granted = run("token", "tag:mine", "--secret", SECRET).out.strip()
        for where in ({"WATCHER_TOKEN": granted}, {}):
            option = () if where else ("--token", granted)
            assert run("watch", "tag:mine", "--timeout", "0.5", *option, url=guarded.url, **where).code == 124
            assert run("watch", "tag:other", "--timeout", "5", *option, url=guarded.url, **where).code == 4
        body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": "mine", "tags": ["mine"], "countdown": 600}}
        may = {"Authorization": f"Bearer {issue(SECRET, submit=['*'])}"}
        assert httpx.post(f"{guarded.url}/api/tasks", json=body, headers=may).status_code == 202
        wait_for(lambda: "mine" in within("list", "--ids", "--token", granted, url=guarded.url).out, what="the list")
        revokes = issue(SECRET, revoke=True)
        told = "mine unknown, or not yours to see; the workers were told\n"
        for arguments, expected in (
            (("list", "--ids"), (4, "")), (("list", "--ids", "--token", granted), (0, "mine\n")),
            (("count", "--token", granted), (0, "1\n")), (("revoke", "mine", "--token", granted), (4, "")),
            (("get", "mine", "--token", revokes), (4, "")), (("revoke", "mine", "--token", revokes), (4, told)),
        ):  # fmt: skip
            assert within(*arguments, url=guarded.url)[:2] == expected


@pytest.mark.parametrize("arguments", [("submit", "tasks.add", "1", "2"), ("watch",)])
def test_without_a_url_it_is_the_default_one(arguments: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 5556))  # and doesn't listen: whoever comes is refused
        except OSError:
            pytest.skip("somebody's relay is at the default port")
        code, out, err = run(*arguments)
    assert (code, out) == (3, "")
    assert "ws://127.0.0.1:5556/connection/websocket" in err


def test_wrong_usage_is_2() -> None:
    for arguments in (("--nothing",), ("tasks", "--timeout", "0"), ("tasks", "--url", "redis://x")):
        code, out, err = run("watch", *arguments)
        assert (code, out) == (2, "")
        assert 0 < len(err) < 500


@pytest.mark.parametrize("command", ["watch", "token"])
def test_a_channel_that_there_is_not_is_2_and_told_what_there_is(command: str) -> None:
    """It would be waited for as a task of that id, and a misspelled channel would look like a quiet one."""
    ended = run(command, "tags:x", url=f"http://127.0.0.1:{free_port()}", WATCHER_SECRET=SECRET)
    assert (ended.code, ended.out) == (2, "")
    told = " ".join(ended.err.split())
    assert "'tags:x': no such channels as tags:…" in told
    for word in ("task:…", "root:…", "group:…", "name:…", "tag:…", "tasks", "task:tags:x"):
        assert word in told


def test_an_id_with_a_colon_is_watched_as_task(serving: Relay) -> None:
    identity = f"nonsense:{time.time_ns()}"
    assert run("submit", "tasks.add", "1", "2", "--task-id", identity, url=serving.url).code == 0
    assert run("watch", f"task:{identity}", url=serving.url).code == 0


def test_no_relay_is_3() -> None:
    assert run("watch", url=f"http://127.0.0.1:{free_port()}").code == 3


def test_a_gap_is_told_on_stderr(serving: Relay) -> None:
    submitted(serving, "tasks.add", "1", "2")
    ended = run("watch", "tasks", "--since", "1:1", "--timeout", "1", "--json", url=serving.url)
    assert ended.code == 124
    assert "are missing" in ended.err
    assert ended.lines


def test_token_is_signed_with_the_secret() -> None:
    ended = run(
        "token", "abc", "tag:user:42", "--submit", "tasks.*", "--ttl", "60", "--sub", "me", WATCHER_SECRET=SECRET
    )
    assert (ended.code, ended.err) == (0, "")
    claims = jwt.decode(ended.out.strip(), SECRET, algorithms=["HS256"])
    assert 0 < claims.pop("exp") - time.time() <= 61
    assert claims == {"sub": "me", "watch": ["task:abc", "tag:user:42"], "submit": ["tasks.*"]}
    assert run("token", "--revoke", "--secret", SECRET).code == 0
    piped = run("token", "abc", "--secret", "-", stdin=f"{SECRET}\n")
    assert jwt.decode(piped.out.strip(), SECRET, algorithms=["HS256"])["watch"] == ["task:abc"]
    # A channel is no glob; --watch takes those.
    keyring = Keyring((Key("HS256", SECRET),))
    granted = grant(run("token", "tag:*", "--watch", "name:*", "--secret", SECRET).out.strip(), keyring)
    assert granted.may_watch("tag:*")
    assert not granted.may_watch("tag:user:42")
    assert granted.may_watch("name:tasks.add")


@pytest.mark.parametrize(
    "arguments",
    [
        ("abc",),
        ("abc", "--secret", "short"),
        ("--secret", SECRET),
        *(("abc", "--secret", SECRET, "--ttl", ttl) for ttl in ("nan", "inf", "1e300", "0")),
    ],
)
def test_token_without_secret_or_grant_is_2(arguments: tuple[str, ...]) -> None:
    ended = run("token", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "short" not in ended.err

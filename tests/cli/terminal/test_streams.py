"""The commands with standard streams that are closed, full, or not read any more: the right code, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Final

import httpx
import pytest

from tests.cli.calls import WATCHER, Ended
from tests.support.processes import ROOT, Relay, environment, free_port
from tests.support.waiting import wait_for

CELERY: Final = (sys.executable, "-m", "celery", "-A", "tests.support.held", "watcher")
#: How a shell makes them, and whether standard output takes something then; None: and nobody minds.
STREAMS: Final[dict[str, tuple[str, bool | None]]] = {
    "stdin closed": ("<&-", True),
    "stdout closed": (">&-", None),
    "stderr closed": ("2>&-", True),
    "all closed": ("<&- >&- 2>&-", None),
    "input and output closed": ("<&- >&-", None),
    "stdout full": (">/dev/full", False),
    "stderr full": ("2>/dev/full", True),
    "both full": (">/dev/full 2>/dev/full", False),
}
#: Enough for what writes in one way only.
SOME: Final = ("all closed", "stdout full", "both full")
FULL, LEFT, MISUSED = 74, 128 + signal.SIGPIPE, 2


def run(redirection: str, command: Sequence[str], *, url: str = "", stdin: str = "") -> Ended:
    script = f'"$@" {redirection}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], input=stdin, capture_output=True, text=True, cwd=ROOT,
        env=environment({"WATCHER_URL": url, "WATCHER_SECRET": "s" * 32}), timeout=60, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def quiet(err: str, lines: int) -> None:
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert len(err.splitlines()) <= lines, err


@pytest.fixture(params=STREAMS)
def streams(request: pytest.FixtureRequest) -> tuple[str, bool | None]:
    return STREAMS[request.param]


def expected(code: int, takes: bool | None) -> int:
    return FULL if takes is False else code


def test_tasks_are_submitted_and_told_of(streams: tuple[str, bool | None], serving: Relay) -> None:
    redirection, takes = streams
    done = run(redirection, [*WATCHER, "submit", "tasks.add", "2", "3"], url=serving.url)
    assert done.code == expected(0, takes), done
    assert done.out == ("5\n" if takes else "")
    quiet(done.err, 1 if takes is False else 0)
    failed = run(redirection, [*WATCHER, "submit", "tasks.fail"], url=serving.url)
    assert failed.code == 1, failed  # there was nothing to print
    done = run(redirection, [*WATCHER, "submit", "--no-wait", "tasks.add", "2", "3"], url=serving.url)
    assert done.code == expected(0, takes)
    many = run(redirection, [*WATCHER, "submit", "tasks.add", "-"], url=serving.url, stdin="[1, 2]\n[3, 4]\n")
    if "<&-" in redirection:
        assert many.code == MISUSED
        assert "closed" in many.err or "2>" in redirection
    else:
        assert many.code == expected(0, takes), many
        assert many.out == ("3\n7\n" if takes else "")
    quiet(many.err, 4)


def test_a_task_is_watched(streams: tuple[str, bool | None], serving: Relay) -> None:
    redirection, takes = streams
    sent = run("", [*WATCHER, "submit", "--json", "--no-wait", "tasks.add", "2", "3"], url=serving.url)
    done = run(redirection, [*WATCHER, "watch", "--json", json.loads(sent.out)["id"]], url=serving.url)
    assert done.code == expected(0, takes), done
    assert ('"state":"SUCCESS"' in done.out) == bool(takes)
    quiet(done.err, 1 if takes is False else 0)


@pytest.mark.parametrize("name", SOME)
def test_tasks_are_listed(name: str, serving: Relay) -> None:
    redirection, takes = STREAMS[name]
    assert httpx.post(f"{serving.url}/api/tasks", json={"task": "tasks.add", "args": [2, 3]}).status_code == 202
    done = run(redirection, [*WATCHER, "list", "--limit", "0"], url=serving.url)
    assert done.code == expected(0, takes), done
    quiet(done.err, 1 if takes is False else 0)


def test_ids_do_not_come_from_a_closed_stream(serving: Relay) -> None:
    done = run("<&-", [*WATCHER, "revoke", "-"], url=serving.url)
    assert done.code == MISUSED
    assert "closed" in done.err


def test_a_token_is_signed(streams: tuple[str, bool | None]) -> None:
    redirection, takes = streams
    done = run(redirection, [*WATCHER, "token", "x"])
    assert done.code == expected(0, takes), done
    assert (done.out.count(".") == 2) == bool(takes)
    quiet(done.err, 1 if takes is False else 0)
    read = run(redirection, [*WATCHER, "token", "x", "--secret", "-"], stdin="s" * 32)
    assert read.code == (MISUSED if "<&-" in redirection else expected(0, takes)), read
    quiet(read.err, 4)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize(
    "command",
    [
        [*WATCHER, "--help"], [*WATCHER, "--version"], [*WATCHER, "submit", "--help"], [*WATCHER, "serve", "--help"],
        [*CELERY, "--help"], [*WATCHER],
    ],
    ids=["--help", "--version", "submit --help", "serve --help", "celery watcher --help", "nothing"],
)  # fmt: skip
def test_help_is_printed(name: str, command: list[str]) -> None:
    redirection, takes = STREAMS[name]
    done = run(redirection, command)
    if len(command) > len(WATCHER):
        assert done.code == expected(0, takes), done
        assert bool(done.out) == bool(takes)
        quiet(done.err, 1 if takes is False else 0)
    else:  # the same as help, on standard error, and a misuse
        assert done.code == MISUSED
        quiet(done.err, 40)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("code", [3, 2], ids=["unreachable", "misused"])
def test_an_error_has_its_code_where_nobody_can_be_told(name: str, code: int) -> None:
    redirection, _ = STREAMS[name]
    arguments = ["submit", "tasks.add", "--timeout", "nothing"] if code == MISUSED else ["submit", "tasks.add"]
    done = run(redirection, [*WATCHER, *arguments], url=f"http://127.0.0.1:{free_port()}")
    assert done.code == code, done
    quiet(done.err, 4)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("how", ["serve", "celery watcher", "up"])
def test_a_relay_serves(name: str, own_env: dict[str, str], how: str, tmp_path: Path) -> None:
    redirection, takes = STREAMS[name]
    port = free_port()
    command = {
        "serve": [*WATCHER, "serve", "-A", "tests.support.held"],
        "celery watcher": [*CELERY],
        "up": [*WATCHER, "up", "-A", "tests.support.held", "-c", "1"],
    }[how]
    told = tmp_path / "err"
    with told.open("wb") as err:
        script = f'exec "$@" {redirection}'
        running = subprocess.Popen(
            ["bash", "-c", script, "bash", *command, "--port", str(port)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=err, cwd=ROOT, env=environment(own_env), start_new_session=True,
        )  # fmt: skip
    probe = Relay.__new__(Relay)
    probe.url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: running.poll() is not None or probe.ready(), what="the relay to serve", timeout=40)
        if how == "up" and takes is False:
            # Celery's worker ends by itself where its banner can't be written, before the relay serves or after that.
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) in (0, 1), told.read_text()
        else:
            assert running.poll() is None, told.read_text()
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0, told.read_text()
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert running.stdout is not None
    with running.stdout:
        out = running.stdout.read().decode()
    if takes and how != "up":
        assert out == f"{probe.url}/\n"
    assert "Traceback" not in told.read_text()
    if takes is False and "2>" not in redirection and how != "up":  # there it is told once the worker is ready, too
        assert f"No space left on device; the address is {probe.url}/" in told.read_text()


# Pipes.


@contextmanager
def piped(url: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose output goes to this test."""
    env = environment({"WATCHER_URL": url})
    running = subprocess.Popen(
        [*WATCHER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT,
        env=env,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_watch_into_head_ends_with_head(serving: Relay) -> None:
    """With the reader, not with the next event: there may be none for hours."""
    with piped(serving.url, "watch", "tasks", "--since", "x:0") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert run("", [*WATCHER, "submit", "tasks.add", "1", "2"], url=serving.url).out == "3\n"
        assert running.stdout.readline()
        running.stdout.close()
        assert running.wait(20) == LEFT
        quiet(running.stderr.read().decode(), 1)


@pytest.mark.parametrize("blocking", [True, False])
def test_watch_waits_for_a_slow_reader(serving: Relay, blocking: bool) -> None:
    """However its end of the pipe is, which others have too, and which stays as it is."""
    tag = f"slow-{blocking}"
    readable, writable = os.pipe()
    os.set_blocking(writable, blocking)
    command = [*WATCHER, "watch", f"tag:{tag}", "--since", "1:0", "--json", "--timeout", "60"]
    env = environment({"WATCHER_URL": serving.url})
    with (
        os.fdopen(readable, "rb") as out,
        subprocess.Popen(command, stdout=writable, stderr=subprocess.PIPE, cwd=ROOT, env=env) as running,
    ):
        try:
            rows = "".join(f'["{"x" * 4000}{number}"]\n' for number in range(30))
            submit = [*WATCHER, "submit", "tasks.word_count", "-", "--no-wait", "--tag", tag]
            assert run("", submit, url=serving.url, stdin=rows).code == 0
            wait_for(lambda: not select([], [writable], [], 0)[1], what="the pipe to be full")
            ended = 0
            while ended < 30:
                ended += json.loads(out.readline())["data"]["state"] == "SUCCESS"
            assert os.get_blocking(writable) == blocking
            running.terminate()
            assert running.stderr is not None
            quiet(running.stderr.read().decode(), 1)
        finally:
            os.close(writable)
            running.kill()


def test_arguments_come_in_slowly_from_an_end_that_does_not_block(serving: Relay) -> None:
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    command = [*WATCHER, "submit", "tasks.add", "-"]
    env = environment({"WATCHER_URL": serving.url})
    with subprocess.Popen(command, stdin=readable, stdout=subprocess.PIPE, cwd=ROOT, env=env, text=True) as running:
        os.close(readable)
        assert running.stdout is not None
        with os.fdopen(writable, "w") as stdin:
            for number in range(3):  # each only once the program has nothing else to read
                print(f"[{number}, 1]", file=stdin, flush=True)
                assert running.stdout.readline() == f"{number + 1}\n"
        assert running.wait(20) == 0


def test_many_results_into_head(serving: Relay) -> None:
    lines = "[1, 2]\n" * 50
    script = '"$@" | head -1; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *WATCHER, "submit", "tasks.add", "-"], input=lines, capture_output=True,
        text=True, cwd=ROOT, env=environment({"WATCHER_URL": serving.url}), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (LEFT, 0), done  # 0: all had been written before head had left
    assert done.stdout == "3\n"
    quiet(done.stderr, 0)


def test_a_descriptor_that_was_closed_is_given_to_nothing_else(tmp_path: Path) -> None:
    """Else what is meant for standard error would be written to a socket, and a child would get it as its input."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\nfrom watcher.cli.terminal.streams import steady\nsteady()\n"
        "other = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\nprint(other, flush=True)\nassert other > 2\n"
        "print('x', file=sys.stderr)\nassert sys.stdin.read() == ''\n"
        "assert [os.get_inheritable(each) for each in range(3)] == [True] * 3\n"
    )
    for redirection, takes in STREAMS.values():
        if takes is not False:
            done = run(redirection, [sys.executable, str(program), str(tmp_path / "other")])
            assert done.code == 0, (redirection, done)
    assert (tmp_path / "other").read_bytes() == b""

"""Processes that send tasks and end, in all the ways in which a program may make some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.support.processes import ROOT, environment, free_port, program
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.worker.support import Reader, producer


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    return {**env, "INSTALL": "1"}


FORKED = (
    *((kind, "fork") for kind in ("process", "daemon", "closed pool", "pool", "one for each", "executor", "fork")),
    *((kind, "billiard fork") for kind in ("process", "daemon", "pool")),
)
#: Their children have nothing of their parent's, whether that has sent something or not.
SPAWNED = (
    *((kind, "spawn") for kind in ("process", "pool", "executor")),
    *((kind, "forkserver") for kind in ("process", "pool")),
    *((kind, "billiard spawn") for kind in ("process", "pool")),
)


@pytest.mark.parametrize(
    ("kind", "how", "early"),
    [
        *((*each, early) for each in FORKED for early in ("", "early")),
        *((*each, "early") for each in SPAWNED),
        ("process", "spawn", ""), ("process", "forkserver", ""), ("process", "billiard spawn", ""),
    ],
)  # fmt: skip
def test_children_that_send_and_end_tell_everything(
    env: dict[str, str], reader: Reader, kind: str, how: str, early: str
) -> None:
    command = [sys.executable, "-m", "tests.worker.sending", kind, how, early]
    done = subprocess.run(
        command, env=environment(env), cwd=ROOT, text=True, capture_output=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    count = 10 if how.endswith("fork") else 2
    assert sorted(reader.ids()) == sorted([*map(str, range(count)), *([early] if early else [])])


UWSGI = "import pyuwsgi, sys; sys.argv[0] = 'uwsgi'; pyuwsgi.run()"


#: Options of uWSGI with which the app is there before the fork, and with which each process loads it.
ONE_APP = (
    "",
    "--enable-threads",
    "--threads 2",
    "--enable-threads --py-call-osafterfork",
    "--gevent 10",
    "--gevent 10 --gevent-monkey-patch --enable-threads",
)
LAZY = ("--lazy-apps", "--lazy-apps --enable-threads")


@pytest.mark.parametrize(
    ("options", "early"),
    [*((each, early) for each in ONE_APP for early in ("", "early")), *((each, "early") for each in LAZY)],
)
def test_uwsgi_which_forks_without_telling_python_tells_everything(
    env: dict[str, str], reader: Reader, options: str, early: str
) -> None:
    port = free_port()
    command = ["--master", "--need-app", "--die-on-term", "--processes", "2", "--http-socket", f"127.0.0.1:{port}"]
    web = ["--module", "tests.worker.web:application", *options.split()]

    def ask() -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
                return str(response.read().decode())
        except ConnectionError:
            return None

    with program(sys.executable, "-c", UWSGI, *command, *web, env={**env, "EARLY": "1" if early else "0"}) as server:
        server.wait_for_output("(?s)spawned uWSGI worker 2.*" + ("WSGI app 0.*" * 2 if "lazy" in options else ""))
        sent = [wait_for(ask, what=f"an answer\n{server.output}") for _ in range(20)]
        # Sent from a thread, and not from the end of the process: that uWSGI ends when it likes.
        wait_for(lambda: set(sent) <= set(reader.ids()), what="the tasks to be told")
        assert server.stop() == 0, "each of its processes ends, and so had begun"
    seen = [each for each in reader.ids() if each != "early"]
    assert sorted(seen) == sorted(str(each) for each in sent), "each once"
    assert ("early" in reader.ids()) == bool(early)


ENDING = """
import os, signal, sys
from tests.worker.sending import send
send("first")
print("sent", flush=True)
sys.stdin.readline()  # a moment
for name in map(str, range(10)):
    send(name)
HOW
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("raise ValueError", 1),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); os.kill(os.getpid(), signal.SIGTERM)", 4),
    ],
    ids=["end", "exit", "exception", "interrupt", "handler"],
)
def test_script_that_exits_right_after_sending_loses_no_events(
    env: dict[str, str], reader: Reader, how: str, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING.replace("HOW", how)],
        env=environment(env), cwd=ROOT, text=True, input="\n", capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert reader.ids() == ["first", *map(str, range(10))]


def test_sigterm_handler_stays_default_and_sent_tasks_are_told(env: dict[str, str], reader: Reader) -> None:
    text = ENDING.replace("HOW", "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\nsignal.pause()")
    with program(
        sys.executable, "-c", f"sys = __import__('sys'); sys.stdin = open('/dev/null')\n{text}", env=env
    ) as it:
        wait_for(lambda: len(reader.ids()) == 11, what="all to be told")
        it.signal(signal.SIGTERM)
        assert it.wait() == -signal.SIGTERM


def test_frozen_producer_loses_no_events_after_resuming(env: dict[str, str], reader: Reader, valkey: Valkey) -> None:
    with producer(env) as sender, valkey.client() as redis:
        first = [sender.send("add", 1, 2) for _ in range(20)]
        os.kill(sender.process.pid, signal.SIGSTOP)
        # What minutes bring: the server lets go of who is silent.
        redis.client_kill_filter(_type="normal", skipme=True)
        os.kill(sender.process.pid, signal.SIGCONT)
        later = [sender.send("add", 1, 2) for _ in range(20)]
        assert sender.finish() == 0
    assert sorted(reader.ids()) == sorted([*first, *later])

"""A guarded process ends when it is told to, and when the program that started it dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.processes import program
from tests.support.trees import alive, descendants, wait_until_gone
from tests.support.waiting import wait_for
from watcher.dev.child import ChildProcess
from watcher.dev.guard import Step, parse_steps

PYTHON = sys.executable
READY = "open(sys.argv[1], 'w').close()"
STUBBORN = f"import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}; time.sleep(60)"
FORKING = f"import subprocess, sys, time; subprocess.Popen(['sleep', '60']); {READY}; time.sleep(60)"


def start(tmp_path: Path, script: str, steps: str) -> ChildProcess:
    """A guarded Python script that has said that it runs."""
    flag = tmp_path / "ready"
    guarded = ChildProcess([PYTHON, "-c", script, str(flag)], steps=steps)
    wait_for(flag.exists, what="the script to run")
    return guarded


def test_steps_are_read_from_text() -> None:
    assert parse_steps("SIGTERM=7,SIGQUIT=1.5") == [Step(signal.SIGTERM, 7.0), Step(signal.SIGQUIT, 1.5)]


@pytest.mark.parametrize("text", ["", "SIGTERM", "SIGNONE=1", "SIGTERM=soon"])
def test_wrong_steps_are_refused_before_anything_starts(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        ChildProcess([PYTHON, "-c", ""], steps=text)


def test_exit_code_is_the_commands() -> None:
    assert ChildProcess([PYTHON, "-c", "raise SystemExit(7)"], steps="SIGTERM=1").wait(10) == 7


def test_exit_code_tells_which_signal_ended_the_command(tmp_path: Path) -> None:
    guarded = start(tmp_path, f"import sys, time; {READY}; time.sleep(60)", "SIGTERM=5")
    assert guarded.close() == 128 + signal.SIGTERM
    assert guarded.close() == 128 + signal.SIGTERM, "closing twice changes nothing"


def test_command_that_ignores_the_signal_is_killed_after_its_time(tmp_path: Path) -> None:
    guarded = start(tmp_path, STUBBORN, "SIGTERM=0.3")
    pids = descendants(guarded.pid)
    started = time.monotonic()
    assert guarded.close() == 128 + signal.SIGKILL
    assert 0.3 <= time.monotonic() - started < 3
    assert not alive(pids)


@pytest.mark.slow
def test_second_signal_follows_when_the_first_is_ignored(tmp_path: Path) -> None:
    assert start(tmp_path, STUBBORN, "SIGTERM=0.2,SIGQUIT=20").close() == 128 + signal.SIGQUIT


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_hurry_leaves_time_to_the_last_step_only(tmp_path: Path, times: int) -> None:
    guarded = start(tmp_path, STUBBORN, "SIGTERM=60,SIGQUIT=20")
    guarded.release()
    for _ in range(times):
        guarded.hurry()
    assert guarded.wait(20) == 128 + signal.SIGQUIT


def test_what_the_command_started_ends_with_it(tmp_path: Path) -> None:
    guarded = start(tmp_path, FORKING, "SIGTERM=5")
    pids = descendants(guarded.pid)
    assert len(pids) == 2
    guarded.close()
    wait_until_gone(pids)


def test_output_goes_where_it_is_told(tmp_path: Path) -> None:
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        ChildProcess([PYTHON, "-c", "print('said')"], steps="SIGTERM=1", output=file).wait(10)
        file.seek(0)
        assert file.read() == b"said\n"


PARENT = """
import sys, time
from watcher.dev.child import ChildProcess
def start(name, seconds, **options):
    return ChildProcess([sys.executable, "-c", sys.argv[1], name, seconds], steps="SIGTERM=5", **options)
server = start("server", "0")
client = start("client", "0.5", outlived_by=[server])
time.sleep(60)
"""
CHILD = """
import signal, sys, time
def leave(*_):
    time.sleep(float(sys.argv[2]))
    sys.exit(f"{sys.argv[1]} left")
signal.signal(signal.SIGTERM, leave)
print(sys.argv[1], "runs", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_parent_that_dies_and_servers_go_last(number: signal.Signals) -> None:
    with program(PYTHON, "-c", PARENT, CHILD) as parent:
        for name in ("server", "client"):
            parent.wait_for_output(f"{name} runs")
        pids = descendants(parent.pid)
        assert len(pids) == 4, "two guards, two commands"
        parent.signal(number)
        wait_until_gone(pids)
        assert parent.stderr.splitlines()[-2:] == ["client left", "server left"]


def test_guard_leaves_no_open_lifeline_behind() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        ChildProcess([PYTHON, "-c", ""], steps="SIGTERM=1").close()
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_command_that_is_not_there_ends_the_guard_with_an_error() -> None:
    with tempfile.TemporaryFile() as file:
        assert ChildProcess(["/nowhere/at/all"], steps="SIGTERM=1", output=file).wait(10) != 0


def test_wait_tells_that_it_still_runs(tmp_path: Path) -> None:
    guarded = start(tmp_path, f"import sys, time; {READY}; time.sleep(60)", "SIGTERM=5")
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.wait(0.05)
    guarded.close()

"""What a person sees who runs `watcher submit` and `watcher watch` in a terminal."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calls import WATCHER, run, terminal
from tests.support.gate import Gate, gate
from tests.support.processes import Relay, free_port, relay

BAR = r"tasks\.count_slowly \w{8} PROGRESS \[#+-+\] +50% \d+\.\d s"
#: Counted up to when the gate opens, and at once.
LONG, SHORT = 4000, 336


@pytest.fixture
def held(own_env: dict[str, str]) -> Iterator[Gate]:
    """What long tasks wait at."""
    with gate(own_env["CELERY_RESULT_BACKEND"]) as made:
        yield made


def lines(held: Gate, *limits: int) -> str:
    return "".join(json.dumps([limit, held.name] if limit == LONG else [limit]) + "\n" for limit in limits)


def test_one_task_has_its_bar_and_then_only_its_result(serving: Relay, held: Gate) -> None:
    with terminal("submit", "tasks.count_slowly", str(LONG), held.name, url=serving.url) as shown:
        shown.wait_for(rf"^{BAR}$")
        held.open()
        assert shown.wait() == 0
        assert shown.lines == ["2000"]
        assert b"\x1b[36mPROGRESS" in shown.sent


def test_seconds_go_on_where_a_task_tells_nothing(serving: Relay, held: Gate) -> None:
    with terminal("submit", "tasks.wait", held.name, url=serving.url) as shown:
        screens = [shown.wait_for(r"^tasks\.wait \w{8} STARTED +\d+\.\d s$")]
        for _ in range(3):
            screens.append(shown.wait_for(rf"^(?!{re.escape(screens[-1])}$)tasks\.wait \w{{8}} STARTED +\d+\.\d s$"))
        told = [float(screen.split()[-2]) for screen in screens]
        assert told == sorted(told)
        held.open()
        assert shown.wait() == 0


def test_many_have_a_bar_each_and_a_line_that_counts_them(serving: Relay, held: Gate) -> None:
    """With the results above, each whole, in the order of the lines."""
    stdin = lines(held, SHORT, LONG) + '["x"]\n' + lines(held, LONG, LONG)
    with terminal("submit", "tasks.count_slowly", "-", url=serving.url, stdin=stdin) as shown:
        # All three, however far each is told to be by now.
        two = rf"(?=(?:.*\n)*{BAR}\n(?:.*\n)*{BAR}\n)"
        shown.wait_for(rf"^168\n{two}(?:tasks\.count_slowly .*\n){{3}}1 done, 1 failed, 3 in flight$")
        held.open()
        assert shown.wait() == 4
        first, second, *why, third, last = shown.lines
        assert [first, second, third, last] == ["168", "2000", "2000", "2000"]
        assert why[0].startswith("watcher: line 3: argument 'limit'")


def test_results_as_they_come_stand_above_the_view(serving: Relay, held: Gate) -> None:
    stdin = lines(held, LONG, *[SHORT] * 60)
    with terminal("submit", "tasks.count_slowly", "-", "--unordered", url=serving.url, stdin=stdin, rows=100) as shown:
        shown.wait_for(rf"^(168\n){{60}}{BAR}\n60 done, 0 failed, 1 in flight$")
        held.open()
        assert shown.wait() == 0
        assert shown.lines == ["168"] * 60 + ["2000"]


def test_results_that_go_elsewhere_are_lines_and_nothing_else(serving: Relay, held: Gate, tmp_path: Path) -> None:
    results = tmp_path / "results"
    script = f"{' '.join(WATCHER)} submit tasks.count_slowly - > {results}"
    with terminal(command=("sh", "-c", script), url=serving.url, stdin=lines(held, SHORT, LONG)) as shown:
        shown.wait_for(rf"^{BAR}\n1 done, 0 failed, 1 in flight$")
        assert results.read_text() == "168\n", "at once"
        held.open()
        assert shown.wait() == 0
        assert results.read_text() == "168\n2000\n"
        assert shown.lines == [""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_the_terminal_as_it_was(serving: Relay, held: Gate, number: signal.Signals) -> None:
    submitting = ("submit", "tasks.count_slowly", "-", "--unordered")
    with terminal(*submitting, url=serving.url, stdin=lines(held, SHORT, LONG)) as shown:
        shown.wait_for(rf"^168\n{BAR}\n1 done, 0 failed, 1 in flight$")
        shown.process.send_signal(number)
        assert shown.wait() == (-9 if number == signal.SIGKILL else 128 + number)
        if number != signal.SIGKILL:
            assert re.fullmatch(r"168\nwatcher: task \S+ left running", "\n".join(shown.lines)), shown.lines
        assert shown.modes() == shown.before
        assert not shown.screen.cursor.hidden
        assert shown.sent.count(b"\x1b[?7l") == shown.sent.count(b"\x1b[?7h") > 0
        assert shown.screen.cursor.x == 0, "where a shell goes on"
        assert shown.screen.cursor.attrs.fg == "default"


def test_lines_that_are_typed_are_not_drawn_over(serving: Relay) -> None:
    with terminal("submit", "tasks.sleep", "-", url=serving.url) as shown:
        shown.type("[1.25]\n[0.5]\n\x04")
        assert shown.wait() == 0
        assert [line for line in shown.lines if line] == ["[1.25]", "[0.5]", "1.25", "0.5"]


def test_a_dumb_terminal_is_drawn_nothing(serving: Relay) -> None:
    with terminal("submit", "tasks.sleep", "-", url=serving.url, stdin="[0.3]\n[0.1]\n", TERM="dumb") as shown:
        assert shown.wait() == 0
        assert shown.sent == b"0.3\r\n0.1\r\n"


def test_watch_has_a_bar_for_each_task_and_colours_unless_unwanted(serving: Relay, held: Gate) -> None:
    ended = run("submit", "tasks.count_slowly", "-", "--no-wait", url=serving.url, stdin=lines(held, LONG, LONG))
    one, two = ended.out.split()
    with terminal("watch", one, two, url=serving.url, columns=150) as shown:
        shown.wait_for(rf"^{BAR}\n{BAR}$")
        held.open()
        assert shown.wait() == 0
        assert b"\x1b[32mSUCCESS" in shown.sent
        assert {line.split()[1] for line in shown.lines} == {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
    with terminal("watch", one, two, url=serving.url, NO_COLOR="1") as shown:
        assert shown.wait() == 0
        assert b"SUCCESS" in shown.sent
        assert not re.search(rb"\x1b\[\d+m", shown.sent)


def test_submit_is_without_colours_where_they_are_unwanted(serving: Relay, held: Gate) -> None:
    with terminal("submit", "tasks.count_slowly", str(LONG), held.name, url=serving.url, NO_COLOR="1") as shown:
        shown.wait_for(rf"^{BAR}$")
        held.open()
        assert shown.wait() == 0
        assert not re.search(rb"\x1b\[\d+m", shown.sent)


# Those that end processes of the worker, which takes a while to have others.


def test_the_view_is_no_higher_and_no_wider_than_the_terminal(serving: Relay, held: Gate) -> None:
    stdin = lines(held, *[LONG] * 30)
    submitting = ("submit", "tasks.count_slowly", "-", "--limit", "30", "--revoke-on-interrupt")
    with terminal(*submitting, url=serving.url, stdin=stdin, rows=10) as shown:
        text = shown.wait_for(rf"^{BAR}\n(.*\n){{6}}… and \d+ more\n\d+ done, 0 failed, \d+ in flight\Z")
        assert len(text.splitlines()) <= 9
        shown.resize(50, 6)
        narrow = r"^(…\w* )?\w{8} PROGRESS \[[#-]+\] +\d+%.*\n"
        text = shown.wait_for(narrow + r"(.*\n){2}… and \d+ more\n\d+ done, 0 failed, \d+ in flight\Z")
        assert len(text.splitlines()) <= 6
        shown.resize(120, 40)
        text = shown.wait_for(rf"^{BAR}\n(.*\n){{10,}}\d+ done, 0 failed, \d+ in flight\Z")
        assert len(re.findall("in flight", text)) == 1
        shown.process.send_signal(signal.SIGINT)
        assert shown.wait() == 130
        *results, last = shown.lines
        assert (results, last) == ([], "watcher: 30 tasks revoked")


def test_what_is_logged_stands_above_the_view(own_env: dict[str, str], serving: Relay) -> None:
    port = free_port()
    with relay("tasks", port=port, env=own_env) as first:
        submitting = ("submit", "tasks.sleep", "-", "--revoke-on-interrupt", "--timeout", "15")
        with terminal(*submitting, url=first.url, stdin="[60]\n[60]\n", columns=150) as shown:
            shown.wait_for(r"STARTED .*\n.*STARTED .*\n0 done, 0 failed, 2 in flight")
            first.kill()
            text = shown.wait_for(r"^watcher: (.*\n)+tasks\.sleep .*\ntasks\.sleep .*\n0 done, 0 failed, 2 in flight$")
            assert text.count("in flight") == 1
            with relay("tasks", port=port, env=own_env):
                shown.process.send_signal(signal.SIGINT)
                assert shown.wait() == 130

"""Completion by real shells: of commands, options, filter terms, and of the names that a relay knows."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tests.cli.calls import Terminal, run, terminal
from tests.documents.shown import with_commands
from tests.support.processes import ROOT, Relay, free_port, program
from tests.support.waiting import wait_for
from watcher.cli import completing, main

#: Typed line → what a shell makes of it. One of each kind, since a shell takes its time.
TYPED = {
    "watcher list -sta": "watcher list -state:",
    "watcher list --limit 5 state:ru": "watcher list --limit 5 state:running ",
    "watcher list 'name:x state:fai": "watcher list 'name:x state:failed' ",
}


def installed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"there is no {shell} on this machine")
    return found


def documented(shell: str) -> str:
    """How docs/clients.md says that completion is turned on."""
    (command,) = re.findall(rf"^\| {shell} \| `([^`]+)`", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE)
    return str(command)


@contextmanager
def interactive(shell: str, command: tuple[str, ...], setup: str, url: str, home: Path) -> Iterator[Terminal]:
    env = {**with_commands(), "PS1": "> ", "HOME": str(home)}
    with terminal(command=(installed(shell), *command), url=url, columns=120, **env) as shown:
        shown.type(f"PS1='> '; {setup}{documented(shell)}; echo re''ady\n")
        shown.wait_for(r"^ready$")
        yield shown


def complete(shown: Terminal, typed: str, completed: str) -> None:
    shown.type(f"{typed}\t")
    shown.wait_for(rf"^> {re.escape(completed.rstrip())}\Z")
    # A blank behind it would be no part of the screen's text: the next word shows it.
    shown.type("x")
    shown.wait_for(rf"^> {re.escape(completed)}x\Z")
    shown.type("\x15")


@pytest.mark.parametrize(("shell", "setup"), [("bash", ""), ("zsh", "autoload -U compinit; compinit -D -u; ")])
def test_a_shell_completes_what_is_typed(shell: str, setup: str, tmp_path: Path) -> None:
    options = {"bash": ("--norc", "-i"), "zsh": ("-f", "-i")}[shell]
    with interactive(shell, options, setup, "http://127.0.0.1:1", tmp_path) as shown:
        for typed, completed in TYPED.items():
            complete(shown, typed, completed)


def test_fish_completes_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / ".config/fish/completions").mkdir(parents=True)
    env = {**with_commands(), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / ".config")}
    script = "; ".join([documented("fish"), *(f"complete -C {shlex.quote(typed)}" for typed in TYPED)])
    with program(installed("fish"), "-c", script, env=env) as running:
        assert running.wait(30) == 0, running.output
        assert running.stdout.splitlines() == ["-state:", "state:running", "name:x state:failed"]


def of(line: str, url: str) -> list[str]:
    """What a shell is offered for a line, up to the cursor."""
    told = {"COMP_LINE": line, "COMP_WORDBREAKS": "", "_WATCHER_COMPLETE": "bash_complete", "WATCHER_URL": url}
    done = CliRunner(env=told).invoke(main, [])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


def offers(line: str, url: str, offered: str) -> bool:
    return of(line, url) == [offered]


def test_commands_options_and_their_values_are_offered() -> None:
    nowhere = "http://127.0.0.1:1"
    assert of("watcher ", nowhere)[:3] == ["up", "serve", "submit"]
    assert of("watcher li", nowhere) == ["list"]
    assert of("watcher list --s", nowhere) == ["--sort"]
    assert of("watcher list --sort ", nowhere) == ["when", "sent", "runtime", "waited"]
    assert of("watcher count --by state,q", nowhere) == ["state,queue"]
    assert of("watcher list state:failed que", nowhere) == ["queue:"]
    assert "state:FAILURE" in of("watcher list state:F", nowhere)
    assert of("watcher list nothing:", nowhere) == []
    assert of("watcher watch na", nowhere) == ["name:"]


def test_names_are_those_that_the_relay_knows(serving: Relay) -> None:
    done = httpx.post(f"{serving.url}/api/tasks", json={"task": "tasks.add", "args": [1, 2]})
    assert done.status_code == 202
    for line, url, offered in (
        ("watcher list name:tasks.a", serving.url, "name:tasks.add"),
        ("watcher watch name:tasks.a", serving.url, "name:tasks.add"),
        ("watcher submit tasks.wor", serving.url, "tasks.word_count"),
        (f"watcher list --url {serving.url} -name:tasks.a", "http://127.0.0.1:1", "-name:tasks.add"),
    ):
        # A busy machine may take longer than a shell waits for.
        wait_for(functools.partial(offers, line, url, offered), what=f"{offered} to be offered")


def test_without_a_relay_nothing_is_offered_and_nothing_said() -> None:
    assert of("watcher list name:", f"http://127.0.0.1:{free_port()}") == []


@pytest.mark.parametrize(
    "name", ["x;reboot", "$(reboot)", "`reboot`", "a b", "a\nb", "'", "*", "~", "a\\b", "\x1b[2J", "x\u202e", "#", "!x"]
)
def test_a_name_that_a_shell_would_obey_is_not_offered(name: str) -> None:
    """bash puts what it is given into the command line as it is."""
    assert completing._harmless([name, "mail.send", "写真", f"x{name}"], "") == ["mail.send", "写真"]


def test_a_script_is_printed_for_these_shells_only() -> None:
    wrong = run("completion", "tcsh")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'bash', 'zsh', 'fish'" in wrong.err

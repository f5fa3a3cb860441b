"""The commands of the documents do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import yaml

from tests.documents.shown import blocks, documents, indented, with_commands
from tests.support.processes import ROOT, Relay, free_port, program
from tests.support.valkey import Valkey
from watcher.core.keyring import Key, Keyring
from watcher.core.permissions import grant


def commands(word: str) -> Iterator[str]:
    """Lines of the documents that begin with it, without what they say of themselves."""
    for path in documents():
        name = str(path.relative_to(ROOT))
        for block in [*blocks(name), *indented(name)]:
            for line in block.text.splitlines():
                if line.startswith(word):
                    yield re.split(r" {2,}|#", line)[0].strip()


def named(word: str) -> Iterator[str]:
    """What the text of the documents calls a command that begins with it."""
    for path in documents():
        yield from re.findall(rf"`({re.escape(word)}[^`]+)`", path.read_text())


def lonely() -> dict[str, str]:
    """Where no Redis answers: `up` brings one."""
    port = free_port()
    return {
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/15",
        "CELERY_RESULT_BACKEND": f"redis://127.0.0.1:{port}/14",
    }


def test_make_knows_what_is_shown() -> None:
    """All of it; what each does is run below, or where it stands here with a reason."""
    shown = {*commands("make "), *named("make ")}
    assert len(shown) >= 10
    for command in shown:
        with program("sh", "-c", command.replace("make ", "make -n ", 1)) as run:
            assert run.wait(30) == 0, run.output
    run_below = {"make run", "make test", "make bench"}
    not_run = {
        "make dev": "`make run`, started again by watchfiles",
        "make lint": "is part of `make test`",
        "make format": "would change the files that other tests read",
        "make module": "so would this; tests/project/test_module.py holds the module against its sources",
        "make fuzz": "is the long form of tests/fuzz, which are a part of `make test`",
        "make celery-suite": "takes a quarter of an hour",
        "make soak": "takes half an hour",
        "make lock": "asks the package index for what is newest, and would change the locks",
        "make docs": "installs what builds the site; tests/project/test_docs.py holds what it lists",
        "make newest": "runs all tests with what is newest today; see tests/project/test_newest.py",
        "make audit": "asks a service for what is known of the locked versions today",
    }
    assert {" ".join(command.split()[:2]) for command in shown} == run_below | not_run.keys()


def test_make_run() -> None:
    """From nothing to the address, as it stands there; Ctrl-C reaches all of it."""
    assert "make run" in commands("make ")
    with program("make", "run", env=lonely()) as running:
        url = running.wait_for_output(r"http://127\.0\.0\.1:\d+/", timeout=60).group()
        order = {"task": "tasks.add", "args": [2, 3]}
        answer = httpx.post(f"{url}api/tasks", json=order, headers={"Prefer": "wait=20"}, timeout=30).json()
        assert answer["result"] == 5
        os.killpg(running.pid, signal.SIGINT)
        running.wait(30)
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_make_test_of_some_of_it() -> None:
    """Linters and types, the browser, and one file of tests in place of all: this is one of them."""
    with program("make", "test", "ARGS=tests/core/test_permissions.py -n 0") as running:
        assert running.wait(110) == 0, running.output
        assert re.search(r"=== \d+ passed", running.stdout), running.output
        assert "All checks passed!" in running.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="the bench has no C compiler, which it needs")
def test_bench_of_our_own_server(tmp_path: Path) -> None:
    """The shortest of its workloads, once, without the peers; then the tables of its lines, as it is shown."""
    lines = tmp_path / "results.jsonl"
    with program("make", "bench", f"ARGS=start --peers celery-watcher --rounds 1 --output {lines}") as running:
        said = running.wait_for_output(r"\*\*start\*\*|another run on this machine", timeout=60).group()
        if "another run" in said:
            pytest.skip("another bench is running on this machine, and two would measure each other")
        assert running.wait() == 0, running.output
    assert any(json.loads(line).get("workload") == "start" for line in lines.read_text().splitlines())
    (shown,) = commands(".venv/bin/python -m bench")
    with program("sh", "-c", shown.replace("results.jsonl", str(lines))) as running:
        assert running.wait(30) == 0, running.output
        assert "**start**" in running.stdout


def test_up_and_serve_as_shown(own_server: Valkey) -> None:
    """With the app in place of `proj`; celery's subcommand stands in the comment."""
    shown = [f"{command} --port 0".replace("-A proj", "-A tasks") for command in commands("watcher up")]
    shown += [f"{command} --port 0".replace("-A proj", "-A tasks") for command in commands("watcher serve")]
    assert [command.split()[1] for command in shown] == ["up", "serve"]
    reached = {"CELERY_BROKER_URL": own_server.url(15), "CELERY_RESULT_BACKEND": own_server.url(14)}
    for command in shown:
        env = lonely() if " up " in command else reached
        with program(*shlex.split(command), env={**env, **with_commands()}) as running:
            url = running.wait_for_output(r"http://127\.0\.0\.1:\d+/", timeout=40).group()
            assert httpx.get(f"{url}api/registry").status_code == 200
            running.signal(signal.SIGINT)
            assert running.wait() == 0, running.output


def test_what_docker_is_told_is_in_its_files(tmp_path: Path) -> None:
    """There is no engine here: what the commands name is in the compose file, and what they run is run without it."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (secret,) = commands("echo ")
    with program("sh", "-c", secret, cwd=tmp_path) as running:
        assert running.wait() == 0, running.output
    key = (tmp_path / ".env").read_text().strip().removeprefix("WATCHER_SECRET=")
    assert len(key) == 64
    up, executed = commands("docker compose ")
    assert up == "docker compose up --build"
    service, *command = shlex.split(executed.removeprefix("docker compose exec "))
    assert service in services
    with program(*command, env={**with_commands(), "WATCHER_SECRET": key}) as running:
        assert running.wait() == 0, running.output
        granted = grant(running.stdout.strip(), Keyring((Key("HS256", key),)))
        assert granted.may_watch("tasks")
        assert granted.may_watch("tag:user:42")


def test_the_commands_do_what_is_shown(running: Relay) -> None:
    shown = list(pairwise(blocks("docs/clients.md")))
    commands = [(block.text, after) for block, after in shown if block.language == "sh"]
    assert len(commands) == 9
    env = {**with_commands(), "WATCHER_URL": running.url}
    for text, after in commands:
        with program("bash", "-euc", text, env=env) as shell:
            if text.startswith("watcher watch "):
                while not shell.stdout:  # it goes on until it is left
                    httpx.post(f"{running.url}/api/tasks", json={"task": "tasks.add", "args": [2, 3]})
                shell.signal(signal.SIGINT)
                assert shell.wait(30) == 130, shell.output
            else:
                assert shell.wait(30) == 0, shell.output
                assert shell.stdout
            assert shell.stderr == ""
            if after.language == "text":
                assert_like(after.text, shell.stdout)


def test_the_command_of_the_readme_prints_the_result(running: Relay) -> None:
    (text,) = (block.text for block in blocks("README.md") if block.text.startswith("watcher submit"))
    with program("bash", "-euc", text, env={**with_commands(), "WATCHER_URL": running.url}) as shell:
        assert shell.wait(30) == 0, shell.output
        assert (shell.stdout, shell.stderr) == ("5\n", "")


def assert_like(shown: str, said: str) -> None:
    """Line for line, with anything for a …, and any hexadecimal or decimal number for one of an event's place or id."""
    if "…" not in shown:
        assert said == shown
        return
    lines, real = [line for line in shown.splitlines() if line != "…"], said.splitlines()
    for line, told in ((lines[0], real[0]), (lines[-1], real[-1])):
        pattern = re.sub(r"…", ".*", re.sub(r"[.{}\[\]]", r"\\\g<0>", line.replace(" … ", "…")))
        assert re.fullmatch(re.sub(r'\d{16}|5f(?=\.\*)|(?<="offset":)\d+', r"[0-9a-f-]+", pattern), told), (line, told)

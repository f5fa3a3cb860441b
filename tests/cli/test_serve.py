"""`watcher serve` and `celery -A proj watcher`: what a user sees when it starts, when it can't, and when it stops."""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import watcher
from tests.support.processes import Program, free_port, program, relay

WATCHER = (sys.executable, "-m", "watcher")
SERVE = (*WATCHER, "serve", "--port", "0")


def run(*command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that ends by itself."""
    with program(*command, env=env, cwd=cwd) as running:
        code = running.wait(20)
        return code, running.stdout, running.stderr


def assert_one_line(stderr: str, *words: str) -> None:
    """It says so in one line, without a traceback."""
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("watcher: ")
    assert all(word in lines[0] for word in words), stderr


def test_version_and_help() -> None:
    assert run(*WATCHER, "--version") == (0, f"watcher, version {watcher.__version__}\n", "")
    code, out, _ = run(*WATCHER, "serve", "--help")
    assert code == 0
    assert "WATCHER_HISTORY_BYTES" in out
    assert "--redis-url" in out


@pytest.mark.parametrize("arguments", [("serve", "--nothing"), ("nothing",), ("up",)])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    code, out, err = run(*WATCHER, *arguments)
    assert (code, out) == (2, "")
    assert "Usage: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--port", "70000"), ("--history", "many"), ("--redis-url", "sentinel://a:1/0"), ("--secret", "x")],
)
def test_wrong_option_is_one_line_that_names_it(option: str, value: str) -> None:
    code, out, err = run(*SERVE, option, value)
    assert (code, out) == (2, "")
    assert_one_line(err, option, "not accepted")


def test_wrong_variable_is_one_line_that_names_it() -> None:
    code, _, err = run(*SERVE, env={"WATCHER_SEND_ARGS": "perhaps"})
    assert code == 2
    assert_one_line(err, "WATCHER_SEND_ARGS", "'perhaps'", "1 or 0")


def test_auth_header_requires_trusted_proxies_and_valid_claims(tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text('[users.alice]\nwatch = "*"\n')
    env = {"WATCHER_AUTH_HEADER": "X-User", "WATCHER_TRUSTED_PROXIES": "127.0.0.1", "WATCHER_CLAIMS": str(claims)}
    for lacking in ("WATCHER_TRUSTED_PROXIES", "WATCHER_CLAIMS"):
        code, _, err = run(*SERVE, env={**env, lacking: ""})
        assert code == 2
        assert_one_line(err, "WATCHER_AUTH_HEADER='X-User' is not accepted", lacking)
    code, _, err = run(*SERVE, env=env)
    assert code == 2
    assert_one_line(err, f"WATCHER_CLAIMS={str(claims)!r}", "users.'alice'.watch must be a list of globs of channels")


def test_option_wins_over_variable(redis_url: str) -> None:
    env = {"WATCHER_HISTORY": "wrong", "WATCHER_REDIS_URL": redis_url}
    assert run(*SERVE, env=env)[0] == 2
    with relay(None, "--history", "5000", env=env) as running:
        assert running.ready()


def test_relay_that_others_reach_needs_a_secret(redis_url: str) -> None:
    code, _, err = run(*SERVE, "--host", "0.0.0.0", env={"WATCHER_REDIS_URL": redis_url})
    assert code == 2
    assert_one_line(err, "--host", "0.0.0.0", "WATCHER_SECRET", "--insecure")


APPS = {
    "broken": "import no_such_module\n",
    "raising": "raise ValueError('in two\\nlines')\n",
    "no_app": "app = 7\n",
}


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("not_there", ["not_there", "No module named"]),
        ("broken", ["broken", "No module named 'no_such_module'"]),
        ("raising", ["raising", "ValueError: ", "in two lines"]),
        ("no_app", ["no_app", "is a int, not a Celery app"]),
        ("no_app:nothing", ["no_app:nothing", "nothing"]),
    ],
)
@pytest.mark.parametrize("command", ["serve", "up"])
def test_app_that_can_not_be_had_is_one_line(tmp_path: Path, command: str, app: str, words: list[str]) -> None:
    for name, source in APPS.items():
        (tmp_path / f"{name}.py").write_text(source)
    code, out, err = run(*WATCHER, command, "-A", app, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert_one_line(err, *words)


def test_taken_port_is_an_error(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run(*WATCHER, "serve", "--port", str(port), "--redis-url", redis_url)
    assert code == 2
    assert_one_line(err, str(port), "in use", "--port")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_address_that_is_not_ours_is_an_error(redis_url: str, host: str) -> None:
    code, _, err = run(*SERVE, "--host", host, "--insecure", "--redis-url", redis_url)
    assert code == 2
    assert_one_line(err, "WATCHER_HOST", host)


def test_no_redis_named_anywhere_is_an_error() -> None:
    code, _, err = run(*SERVE)
    assert code == 2
    assert_one_line(err, "WATCHER_REDIS_URL")


def test_redis_that_is_not_there_is_exit_code_3() -> None:
    code, out, err = run(*SERVE, "--loglevel", "error", "--redis-url", f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert (code, out) == (3, "")
    assert_one_line(err, "Redis", "127.0.0.1")
    assert "secret" not in err


@contextmanager
def celery_watcher(env: dict[str, str]) -> Iterator[Program]:
    with program(*CELERY, "--port", "0", env=env) as running:
        running.wait_for_output("http://")
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_address_is_all_of_its_output_and_a_signal_ends_it_cleanly(
    tasks_env: dict[str, str], number: signal.Signals
) -> None:
    with relay("tasks", env=tasks_env) as running:
        assert running.stdout == f"{running.url}/\n"
        running.signal(number)
        assert running.wait(20) == 0, running.output
        assert "Traceback" not in running.stderr


CELERY = (sys.executable, "-m", "celery", "-A", "tasks", "watcher")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--port", "70000"), 2, ["--port", "70000"]),
        (("--redis-url", "sentinel://a:1/0"), 2, ["--redis-url", "sentinel"]),
        (("--host", "0.0.0.0"), 2, ["--host", "WATCHER_SECRET", "--insecure"]),
        (("--port", "0", "--loglevel", "error", "--redis-url", "redis://127.0.0.1:1/0"), 3, ["Redis", "127.0.0.1:1"]),
    ],
)
def test_as_a_subcommand_of_celery_it_ends_in_the_same_ways(
    arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    ended, out, err = run(*CELERY, *arguments)
    assert (ended, out) == (code, "")
    assert_one_line(err, *words)


def test_as_a_subcommand_of_celery_it_has_the_same_options() -> None:
    options = [set(re.findall(r"--[a-z-]+", run(*command, "--help")[1])) for command in (CELERY, (*WATCHER, "serve"))]
    assert options[0] == options[1] - {"--app"}


def test_is_a_subcommand_of_celery(tasks_env: dict[str, str]) -> None:
    with celery_watcher(tasks_env) as running:
        assert running.stop(10) == 0, running.output
        assert "Traceback" not in running.stderr


def test_without_an_app_it_relays(redis_url: str) -> None:
    with relay(None, env={"WATCHER_REDIS_URL": redis_url}) as running:
        assert running.ready()
        assert "watcher: without -A this relay is read-only: it can't submit or revoke tasks" in running.stderr


def test_without_an_app_and_a_redis_it_says_what_that_means() -> None:
    code, out, err = run(*SERVE)
    assert (code, out) == (2, "")
    assert_one_line(err, "name the Celery app", "serve -A proj", "read-only", "--redis-url", "WATCHER_REDIS_URL")


def test_localhost_is_reached_over_ipv4(redis_url: str) -> None:
    with relay(None, "--host", "localhost", env={"WATCHER_REDIS_URL": redis_url}) as running:
        port = int(running.url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=2).close()

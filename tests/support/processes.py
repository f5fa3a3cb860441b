"""Real processes for tests: workers, relays and whatever else, each ended with its test and never by name."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

# What of the caller's environment would change what a test sees.
_FOREIGN = re.compile(
    r"^(WATCHER_|CELERY_|APP$|BROKER_URL$|RESULT_BACKEND$|NO_COLOR$|FORCE_COLOR$|PYTHONOPTIMIZE$|MAKE|MFLAGS$|ARGS$)"
)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of Celery and of watcher, plus `extra`."""
    clean = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    return {**clean, "PYTHONUNBUFFERED": "1", **(extra or {})}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on. Prefer port 0 where the program can report its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A running program whose output can be read at any time; standard output and error are kept apart."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | str | None = None
    ) -> None:
        self.name = " ".join(Path(part).name if part == sys.executable else part for part in command)
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            env=environment(env),
            cwd=cwd or ROOT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        return _text(self._stdout.fileno())

    @property
    def stderr(self) -> str:
        """Standard error so far."""
        return _text(self._stderr.fileno())

    @property
    def output(self) -> str:
        """All that it has said, for a test that failed."""
        return f"--- {self.name}: stdout\n{self.stdout}\n--- stderr\n{self.stderr}"

    def wait_for_output(self, pattern: str, *, timeout: float = 30.0) -> re.Match[str]:
        """Wait until it has said, on either stream, what the regular expression matches."""

        def said() -> re.Match[str] | None:
            ended = self.process.poll()  # looked at first: it may say it just before it leaves
            found = re.search(pattern, self.stdout) or re.search(pattern, self.stderr)
            assert found or ended is None, f"{self.name} ended with {ended} before it said {pattern!r}"
            return found

        try:
            return wait_for(said, timeout=timeout, what=f"{self.name} to say {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait until it ends, and return its exit code (negative: the signal that ended it)."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:g} s\n{self.output}") from None

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the program itself, not to its children."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it and what is left of its process group, by force where needed."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._stdout.close()
        self._stderr.close()


def _text(descriptor: int) -> str:
    # pread leaves the offset alone, which the program shares and appends at.
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


@contextmanager
def program(*command: str, env: Mapping[str, str] | None = None, cwd: Path | str | None = None) -> Iterator[Program]:
    """Run a command for the time of a `with` block."""
    running = Program(command, env=env, cwd=cwd)
    try:
        yield running
    finally:
        running.close()


def limited(files: int, *command: str) -> list[str]:
    """The command for a program that may have so many files open (``ulimit -n``)."""
    return ["/bin/sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]


@contextmanager
def worker(
    app: str = "tasks",
    *arguments: str,
    pool: str = "prefork",
    concurrency: int = 2,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    optimize: bool = False,
    alone: bool = True,
) -> Iterator[Program]:
    """A Celery worker in its own process, ready to take tasks.

    It is killed at the end: its own way to stop takes a second or more. A test that looks at that stops it itself.

    :param app: what `-A` names, for example `tasks` or `tests.apps.pools`.
    :param arguments: further ones, for example `-I`, `watcher.worker`.
    :param env: at least where broker and result backend are; see the `tasks_env` fixture.
    :param optimize: run with `python -O`.
    :param alone: whether it doesn't look for other workers, which takes a second; it is so under `watcher up` too.
    """
    interpreter = [sys.executable, "-O"] if optimize else [sys.executable]
    command = [*interpreter, "-m", "celery", "-A", app, "worker", "-l", "info", "-P", pool, "-c", str(concurrency)]
    if alone:
        command += ["--without-mingle", "--without-gossip"]
    with program(*command, *arguments, env=env, cwd=cwd) as running:
        try:
            running.wait_for_output(r"\bready\.", timeout=30)
            yield running
        finally:
            running.kill()


class Relay(Program):
    """A relay in its own process."""

    url = ""
    #: How to meet one that wants a certificate of its clients; whose its own is, other tests look at.
    tls: ssl.SSLContext | None = None

    @property
    def ws_url(self) -> str:
        """Where its WebSocket is."""
        return self.url.replace("http", "ws", 1) + "/connection/websocket"

    def ready(self) -> bool:
        """Whether /readyz says that it is ready."""
        tls = self.tls or ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=tls) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


#: Where tasks of tests wait for nobody; a relay takes no other queue that it doesn't know.
QUEUES = "* nobody* pool-*"


@contextmanager
def relay(
    app: str | None = "tasks",
    *arguments: str,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    tls: ssl.SSLContext | None = None,
    files: int | None = None,
) -> Iterator[Relay]:
    """`watcher serve` in its own process, ready; its address is `relay.url`, without a slash at the end.

    :param port: 0 takes a free one; a fixed one is for a relay that comes back at the same address.
    :param tls: how to ask whether it is ready, where it wants a certificate of its clients.
    :param files: so many it may have open (``ulimit -n``).
    """
    command = [sys.executable, "-m", "watcher", "serve", "--port", str(port), *arguments]
    if app is not None:
        command += ["-A", app]
    if files is not None:
        command = limited(files, *command)
    running = Relay(command, env={"WATCHER_SUBMIT_QUEUES": QUEUES, **(env or {})}, cwd=cwd)
    running.tls = tls
    try:
        running.url = running.wait_for_output(r"(?m)^https?://[^\s/]+").group()
        wait_for(running.ready, timeout=20, what=f"{running.url}/readyz to say yes\n{running.output}")
        yield running
    finally:
        running.close()

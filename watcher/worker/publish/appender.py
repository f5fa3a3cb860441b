"""One process's connection to the journal: it appends one batch at a time, or says why it can't."""

from __future__ import annotations

# Connecting imports these, and a fork in the middle of that leaves a child without.
import email.parser  # noqa: F401
import encodings.idna  # noqa: F401
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, cast

from redis import exceptions

from watcher.journal.connect import PUBLISH, Target, target_of
from watcher.journal.layout import Journal, Record
from watcher.journal.scripts import APPEND, sha_of

__all__ = ["Appender", "BatchRefused", "JournalAway"]


_SHA: Final = sha_of(APPEND)


class JournalAway(Exception):
    """Redis doesn't answer, or takes no writes for now. Whether the batch was appended is unknown: send it again."""


class BatchRefused(Exception):
    """Redis will never take this batch: sending it again would only hold up those behind it."""


# Redis refuses everybody's writes while it is in such a state; the batch is not to blame. redis-py has classes for some
# of them. Up to Redis 6.2 an error inside a script arrives as a generic one, with the code somewhere in its text.
_STATES: Final = (
    exceptions.AskError,  # and MovedError: a cluster's node that has let go of the journal's slot may get it back
    exceptions.AuthorizationError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.NoPermissionError,
    exceptions.NoScriptError,  # it was loaded a moment ago: Redis has been started anew
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
_CODES: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNKILLABLE|WRONGPASS)\b"
    r"|unknown command"  # one that we need was renamed there
)


class _Connection(Protocol):
    """The part of redis-py's connections that is used here; they have no types of their own."""

    def send_command(self, *args: str | bytes | int) -> None: ...
    def read_response(self) -> object: ...
    def can_read(self) -> bool: ...
    def disconnect(self) -> None: ...


class Appender:
    """Appends batches to the journal, under a writer id of its own; for one thread of one process.

    It connects at the first batch and whenever the connection was lost, and never tries again by itself: the caller
    knows how long to wait, and sends the same batch under the same number, which the journal ignores where it has it.

    :param redis: the one that the journal is in, or its URL.
    :param timeout: seconds for connecting, and for each answer.
    """

    def __init__(self, redis: Target | str, journal: Journal, *, timeout: float = PUBLISH.timeout) -> None:
        self._target = target_of(redis)
        self._journal = journal
        self._timeout = timeout
        self._writer = secrets.token_hex(8)
        self._connection: _Connection | None = None

    def append(self, number: int, batch: Sequence[Record], meanwhile: Callable[[], None] | None = None) -> None:
        """Append ``batch``, all of it or nothing.

        :param number: greater than that of the batch before it; the same where the same batch is sent again.
        :param meanwhile: called while the answer is on its way. Whoever wants to rest does it here: the answer is there
            when it is over, and one awakening is saved.
        :raises JournalAway: it may be sent again later.
        :raises BatchRefused: it must not be sent again.
        """
        keys, arguments = self._journal.append(self._writer, number, batch)
        try:
            self._run(keys, arguments, meanwhile)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError, *_STATES) as error:
            self.close()
            raise JournalAway(_reason(error)) from None
        except exceptions.RedisError as error:
            if isinstance(error, exceptions.ResponseError) and _CODES.search(str(error)):
                raise JournalAway(_reason(error)) from None
            raise BatchRefused(_reason(error)) from None

    def limit(self, timeout: float) -> None:
        """From the next connection on, allow so many seconds for connecting, and for each answer."""
        if timeout != self._timeout:
            self._timeout = timeout
            self.close()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _run(self, keys: list[str], arguments: list[str | int | bytes], meanwhile: Callable[[], None] | None) -> None:
        # Not through Redis.register_script: what redis.Redis does around each command, its pool above all, takes more
        # time than sending it, and takes it from the tasks.
        connection = self._connected()
        try:
            connection.send_command("EVALSHA", _SHA, len(keys), *keys, *arguments)
            if meanwhile is not None:
                meanwhile()
            connection.read_response()
        except exceptions.NoScriptError:
            self._load(connection)
            connection.send_command("EVALSHA", _SHA, len(keys), *keys, *arguments)
            connection.read_response()

    def _load(self, connection: _Connection) -> None:
        """Have Redis keep the script: EVAL takes a right to run whatever one likes, and some servers don't have it."""
        connection.send_command("SCRIPT", "LOAD", APPEND)
        connection.read_response()

    def _connected(self) -> _Connection:
        """The connection, made anew where the server has closed it in the meantime; it connects when it is used."""
        if self._connection is not None:
            try:
                closed = self._connection.can_read()  # there is nothing to read but the end
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                closed = True
            except AttributeError:  # eventlet takes select.poll away, which redis-py >= 8.1 found when it was imported
                closed = False
            if closed:
                self.close()
        if self._connection is None:
            self._connection = cast(_Connection, self._target.connection(replace(PUBLISH, timeout=self._timeout)))
        return self._connection


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

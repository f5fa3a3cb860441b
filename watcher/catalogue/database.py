"""A database that holds a catalogue: how it is opened, its form made or refused, and what its errors mean.

SQLite: a log of its own (WAL), so that who reads waits for nobody; one connection that writes, some that read.
PostgreSQL: by psycopg 3; one question is answered from one snapshot.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from watcher.catalogue.catalogue import Away, Removed, Unusable
from watcher.catalogue.tables import VERSION, metadata, state

__all__ = ["Database", "Unwritable", "url_of"]

#: Connections that read, at most; whoever finds none free waits so long, in seconds.
_READERS: Final = 4
_PATIENCE: Final = 5.0
#: A lock of another process is waited for so long, in milliseconds: SQLite's, PostgreSQL's.
_BUSY: Final = 2000
#: No answer of PostgreSQL takes longer, in milliseconds.
_ANSWER: Final = 10_000
#: SQLite's cache of a connection that writes, and of one that reads, in KiB; the system has its own.
_CACHE: Final = 6144
_READER_CACHE: Final = 2048
#: Classes of PostgreSQL's errors that are about what is in a row: data, constraints, and what is too large for it.
_OF_ROWS: Final = ("22", "23", "54")
_ACCEPTED: Final = "sqlite:////PATH, or postgresql://USER:PASSWORD@HOST/DATABASE"


def url_of(text: str) -> URL:
    """Read the URL of a database.

    :raises ValueError: it is none that a catalogue can be in; the message says what is accepted.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"accepted are {_ACCEPTED}") from None
    if url.drivername == "sqlite":
        if url.host or not url.database or url.database == ":memory:" or url.query:
            raise ValueError("accepted is sqlite:// and the path of a file: sqlite:////var/lib/watcher/archive.db")
        return url
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if not url.database:
            raise ValueError(f"the name of the database is missing; accepted are {_ACCEPTED}")
        return url.set(drivername="postgresql+psycopg")
    raise ValueError(f"accepted are {_ACCEPTED}")


class Unwritable(Exception):
    """The database takes other rows, but not these: what is in them is at fault."""


class Database:
    """A catalogue's database; :meth:`prepare` comes before all else.

    :param url: as :func:`url_of` gives it.
    :param lasting: whether it is to outlive this process; a temporary one need not reach the disk.
    :raises Unusable: its driver isn't installed.
    """

    def __init__(self, url: URL, *, lasting: bool = True) -> None:
        self.url = url
        self.lasting = lasting
        self.sqlite = url.drivername == "sqlite"
        self._file: tuple[int, int] | None = None  # which one it is: its device and number there
        try:
            self._writer = self._engine(readers=False)
            self._reader = self._engine(readers=True)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise Unusable(f"PostgreSQL needs psycopg ({error}): pip install 'celery-watcher[postgresql]'") from None

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; it is undone where an exception ends it.

        :raises Away: the database doesn't answer, is full, or refuses. Removed: its file is gone.
        """
        self.check()
        try:
            with _translated(), self._writer.begin() as connection:
                yield connection
        except Unwritable as error:  # no row of a task, or it would be a part's
            raise Away(str(error)) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads: all of it sees the database at one moment.

        :raises Away: the database doesn't answer. Removed: its file is gone.
        """
        self.check()
        with _translated(), self._reader.begin() as connection:
            yield connection

    def check(self) -> None:
        """See whether the file is still the one that was opened: SQLite goes on in one that nobody finds any more.

        :raises Removed: it isn't.
        """
        if self.path is None or self._file is None:
            return
        try:
            found = self.path.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise Removed("its file was removed, or replaced")

    @contextlib.contextmanager
    def part(self, connection: Connection) -> Iterator[None]:
        """A part of a transaction that writes: undone by itself where it can't be written.

        :raises Unwritable: what was to be written is at fault. Away: the database is.
        """
        try:
            with _translated(), connection.begin_nested():
                yield
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise Unwritable(_first_line(error)) from error

    def prepare(self, namespace: str) -> None:
        """Make the tables where there are none.

        :raises Unusable: what is there is of another version, or no catalogue.
        :raises Away: the database doesn't answer.
        """
        if self.path is not None:
            self._make(self.path)
        with self.writing() as connection:
            if not self.sqlite:  # two relays that start at once must not both make them
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305801930177458)")
            found = self._version(connection)
            if found is None:
                metadata.create_all(connection)
                connection.execute(
                    insert(state).values(
                        id=1, version=VERSION, namespace=namespace, epoch="", position=0, base=0, since=None
                    )
                )
            elif found != VERSION:
                newer = "newer" if found > VERSION else "older"
                raise Unusable(
                    f"{self}: the catalogue there has form {found}, which is {newer} than this program's ({VERSION}); "
                    "name another database, or remove that one: the catalogue is built again from the journal"
                )
            else:
                mine = connection.execute(select(state.c.namespace)).scalar()
                if mine != namespace:
                    raise Unusable(
                        f"{self}: holds the tasks of namespace {mine!r}, not of {namespace!r}; name another database"
                    )

    def _make(self, path: Path) -> None:
        """Make the file where there is none. It is for nobody else; what SQLite keeps beside it gets the same mode."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Away(f"{path} can't be opened: {error.strerror}") from error
        found = os.fstat(file)
        os.close(file)
        self._file = found.st_dev, found.st_ino

    def _version(self, connection: Connection) -> int | None:
        names = set(inspect(connection).get_table_names())
        if state.name not in names:
            strange = names & set(metadata.tables)
            if strange:
                raise Unusable(f"{self}: has a table {min(strange)}, but is no catalogue; name another database")
            return None
        columns = {column["name"] for column in inspect(connection).get_columns(state.name)}
        if not {"id", "version"} <= columns:
            raise Unusable(f"{self}: has a table {state.name}, but is no catalogue; name another database")
        found: int | None = connection.execute(select(state.c.version)).scalar()
        if found is None:
            raise Unusable(f"{self}: its table {state.name} is empty; remove the catalogue: it is built again")
        return found

    def close(self) -> None:
        """Close all connections that aren't in use."""
        self._reader.dispose()
        self._writer.dispose()

    def _engine(self, *, readers: bool) -> Engine:
        options: dict[str, Any] = {
            "pool_size": _READERS if readers else 1, "max_overflow": 0, "pool_timeout": _PATIENCE
        }  # fmt: skip
        if self.path is not None:
            engine = create_engine(self.url, creator=partial(_connected, self.path), **options)
            event.listen(engine, "connect", self._pragmas(readers=readers))
            begin = "BEGIN" if readers else "BEGIN IMMEDIATE"
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
            return engine
        settings = f"-c lock_timeout={_BUSY} -c statement_timeout={_ANSWER} -c jit=off"
        settings += " -c synchronous_commit=on" if not readers else " -c default_transaction_read_only=on"
        options["connect_args"] = {"connect_timeout": 3, "options": settings, "application_name": "celery-watcher"}
        # A server that is gone without a word is noticed as soon as one that answers nothing.
        options["connect_args"] |= {"tcp_user_timeout": _ANSWER, "keepalives_idle": 10, "keepalives_interval": 3}
        options["pool_pre_ping"] = True
        isolation = "REPEATABLE READ" if readers else "READ COMMITTED"
        return create_engine(self.url, isolation_level=isolation, **options)

    def _pragmas(self, *, readers: bool) -> Any:
        def connected(connection: sqlite3.Connection, _record: object) -> None:
            cursor = connection.cursor()
            if readers:
                cursor.execute("PRAGMA query_only=ON")
            else:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute(f"PRAGMA synchronous={'NORMAL' if self.lasting else 'OFF'}")
                cursor.execute("PRAGMA secure_delete=OFF")
            cursor.execute(f"PRAGMA cache_size=-{_READER_CACHE if readers else _CACHE}")
            cursor.execute("PRAGMA temp_store=MEMORY")
            cursor.close()

        return connected

    @property
    def path(self) -> Path | None:
        """The file that it is in; None where it is a server's."""
        return Path(self.url.database or "") if self.sqlite else None


def _connected(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True,
        check_same_thread=False, timeout=_BUSY / 1000, isolation_level=None, cached_statements=256,
    )  # fmt: skip


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout:
        raise Away("all connections to it are in use") from None
    except DBAPIError as error:
        of_rows = isinstance(error, (IntegrityError, DataError)) or _class_of(error) in _OF_ROWS
        raise (Unwritable if of_rows else Away)(_first_line(error.orig or error)) from error


def _class_of(error: DBAPIError) -> str:
    """The class of PostgreSQL's code of an error; empty where there is none."""
    return str(getattr(error.orig, "sqlstate", None) or "")[:2]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

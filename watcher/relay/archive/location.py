"""Where a relay's catalogue is: a file for as long as it runs, a file that stays, or a server's database."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from watcher.catalogue.catalogue import Catalogue
from watcher.catalogue.database import url_of
from watcher.catalogue.store import SqlCatalogue
from watcher.core.errors import SettingError
from watcher.core.settings import Settings, masked, setting

__all__ = ["Location"]

#: What directories of temporary catalogues are called, and the file there that is locked as long as one is in use.
_PREFIX: Final = "celery-watcher-"
_LOCK: Final = "lock"


class Location:
    """Where the catalogue is.

    :ivar shared: whether other relays may keep theirs there: then the holder of a lease writes.
    :ivar lasting: whether it is there when the relay starts again.
    :raises SettingError: what ``WATCHER_ARCHIVE`` says is no such place.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = setting("archive").variable
        self._namespace = settings.namespace
        self._given = settings.archive
        self.lasting = settings.archive is not None
        self.shared = False
        #: Whether it is taken for this relay.
        self.held = False
        self._exits = contextlib.ExitStack()
        self._url: URL | None = None
        if settings.archive is not None:
            try:
                self._url = url_of(settings.archive)
            except ValueError as error:
                raise SettingError(self._name, masked(settings.archive), str(error)) from None
            self.shared = self._url.drivername != "sqlite"

    def hold(self) -> None:
        """Take the place for this relay, until :meth:`leave`.

        :raises SettingError: another relay has it, or nothing can be written there.
        """
        if self._url is None:
            self._url = URL.create("sqlite", database=str(self._exits.enter_context(_temporary()) / "catalogue.db"))
        elif not self.shared:
            self._exits.enter_context(self._alone(Path(self._url.database or "")))
        self.held = True

    def open(self) -> Catalogue:
        """Open the catalogue; it is made where there is none. Blocks.

        :raises Unusable: what is there is none, or of another version. Away: the database doesn't answer.
        """
        if self._url is None:
            raise RuntimeError("the place is not held")
        return SqlCatalogue(self._url, self._namespace, lasting=self.lasting)

    def refused(self, error: Exception) -> SettingError:
        """What an operator is told of a place that can't be used."""
        return SettingError(self._name, masked(self._given or "a temporary file"), str(error))

    @property
    def digest(self) -> str:
        """A short name of the place, the same for all relays that share it."""
        shown = self._url.render_as_string(hide_password=True) if self._url is not None else ""
        return hashlib.sha256(shown.encode()).hexdigest()[:16]

    def leave(self) -> None:
        """Give the place back; a temporary one is gone then."""
        self._exits.close()
        self.held = False
        if self._given is None:
            self._url = None

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        lock = path.with_name(f"{path.name}.lock")
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Tasks' arguments are for nobody else; what SQLite keeps beside it gets the same mode.
            made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(made).st_size
            os.close(made)
        except OSError as error:
            wrong = f"{path} can't be written: {error.strerror}"
            raise SettingError(self._name, self._given, f"a file in a directory that exists ({wrong})") from None
        try:
            if not _locked(file):
                wrong = "another relay keeps its catalogue there; for several relays, use PostgreSQL"
                raise SettingError(self._name, self._given, wrong)
            for beside in ("-wal", "-shm") if not size else ():  # of a file that was removed
                path.with_name(path.name + beside).unlink(missing_ok=True)
            yield
        finally:
            os.close(file)  # and with it the lock; the file stays, since another may be about to lock it


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A directory of this process's own. Those of processes that were killed are removed."""
    parent = Path(tempfile.gettempdir())
    for other in parent.glob(f"{_PREFIX}*"):
        _remove_abandoned(other)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    file = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _locked(file)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(file)


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return
        file = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if _locked(file):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

"""The file that says what people may do (``WATCHER_CLAIMS``), read at the start and whenever it has changed."""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio

from watcher.errors import SettingError
from watcher.permissions import Grant
from watcher.relay.people import People, Person, check
from watcher.settings import Settings, setting

__all__ = ["LIFETIME", "Roster"]

logger = logging.getLogger(__name__)

#: A proxy is asked who somebody is when a connection is made. So a connection ends after about so long, in seconds, and
#: its client comes back by way of the proxy: not all of them at the same time.
LIFETIME: Final = 3600
_SPREAD: Final = 600
#: It is looked at this often, in seconds. A file that is just being written is left alone until the next look.
_LOOK: Final = 1.0


class Roster:
    """What people may do, as it stands in a file.

    :param look: seconds after which it is looked at again.
    :raises SettingError: the file can't be read, or says what isn't understood.
    """

    def __init__(self, path: str, *, look: float = _LOOK) -> None:
        self._path = Path(path)
        self._look_after = look
        self._seen = self._look()
        try:
            self.people = self._read()
        except ValueError as error:
            raise SettingError(setting("claims").variable, path, str(error)) from None

    @classmethod
    def of(cls, settings: Settings) -> Roster | None:
        """The roster that settings name; None where no header says who somebody is.

        :raises SettingError: a setting that it needs is missing, or the file is wrong.
        """
        check(settings)
        return None if settings.claims is None else cls(settings.claims)

    def grant(self, person: Person) -> Grant:
        """What somebody may do, from now on and for as long as a connection lasts."""
        ends = time.time() + LIFETIME - random.uniform(0, _SPREAD)  # noqa: S311 - no secret
        return dataclasses.replace(self.people.grant(person), expires=ends)

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Follow the file until cancelled; one that is wrong changes nothing, and is told in the log.

        :param changed: awaited when people may do something else than before.
        """
        before = self._seen
        while True:
            await anyio.sleep(self._look_after)
            found = await anyio.to_thread.run_sync(self._look)
            settled, before = found == before, found
            if found == self._seen or not settled:
                continue
            self._seen = found
            try:
                people = await anyio.to_thread.run_sync(self._read)
            except ValueError as error:
                logger.warning("%s holds as it was: %s: %s", setting("claims").variable, self._path, error)
                continue
            if people != self.people:
                self.people = people
                logger.info("read %s again: %d users, %d groups", self._path, len(people.users), len(people.groups))
                await changed()

    def _look(self) -> tuple[int, int, int] | None:
        """What is another when the file is; a file that is replaced is another one."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> People:
        try:
            text = self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"the file can't be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError("the file is no text in UTF-8") from None
        return People.read(text, as_json=self._path.suffix == ".json")

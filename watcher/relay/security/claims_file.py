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

from watcher.core.errors import SettingError
from watcher.core.permissions import Grant
from watcher.core.settings import Settings, setting
from watcher.relay.common.watched_files import WatchedFile
from watcher.relay.security.identity import IdentityPolicy, Person, check

__all__ = ["LIFETIME", "ClaimsFile"]

logger = logging.getLogger(__name__)

#: A proxy is asked who somebody is when a connection is made. So a connection ends after about so long, in seconds, and
#: its client comes back by way of the proxy: not all of them at the same time.
LIFETIME: Final = 3600
_SPREAD: Final = 600
#: It is looked at this often, in seconds.
_LOOK: Final = 1.0


class ClaimsFile:
    """What people may do, as it stands in a file.

    :param look: seconds after which it is looked at again.
    :raises SettingError: the file can't be read, or says what isn't understood.
    """

    def __init__(self, path: str, *, look: float = _LOOK) -> None:
        self._path = Path(path)
        self.followed = WatchedFile("claims", [path], f"{setting('claims').variable} remains in use", look=look)
        self.people = self._read()

    @classmethod
    def of(cls, settings: Settings) -> ClaimsFile | None:
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

        async def take() -> None:
            people = await anyio.to_thread.run_sync(self._read)
            if people != self.people:
                self.people = people
                logger.info("reloaded %s: %d users, %d groups", self._path, len(people.users), len(people.groups))
                await changed()

        await self.followed.run(take)

    def _read(self) -> IdentityPolicy:
        try:
            text = self._path.read_text(encoding="utf-8")
            return IdentityPolicy.read(text, as_json=self._path.suffix == ".json")
        except OSError as error:
            why = f"the file can't be read: {error.strerror}"
        except UnicodeDecodeError:
            why = "the file is not UTF-8 text"
        except ValueError as error:
            why = str(error)
        raise SettingError(setting("claims").variable, str(self._path), why)

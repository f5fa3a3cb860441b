"""The file of users' permissions (``WATCHER_CLAIMS``), read at the start and whenever it changes."""

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

#: Lifetime of a user's connection, in seconds, less a random part: then the client reconnects through the proxy, which
#: authenticates it again. The random part spreads the reconnects.
LIFETIME: Final = 3600
_SPREAD: Final = 600
#: Interval between checks for changes, in seconds.
_LOOK: Final = 1.0


class ClaimsFile:
    """The permissions of users and groups, as the file has them.

    :param look: seconds between checks for changes.
    :raises SettingError: the file can't be read or is invalid.
    """

    def __init__(self, path: str, *, look: float = _LOOK) -> None:
        self._path = Path(path)
        self.followed = WatchedFile("claims", [path], f"{setting('claims').variable} remains in use", look=look)
        self.people = self._read()

    @classmethod
    def of(cls, settings: Settings) -> ClaimsFile | None:
        """The claims file that settings name; None if no header names users.

        :raises SettingError: a required setting is missing, or the file is invalid.
        """
        check(settings)
        return None if settings.claims is None else cls(settings.claims)

    def grant(self, person: Person) -> Grant:
        """What a user may do, for as long as a connection lasts."""
        ends = time.time() + LIFETIME - random.uniform(0, _SPREAD)  # noqa: S311 - no secret
        return dataclasses.replace(self.people.grant(person), expires=ends)

    async def run(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Watch the file until cancelled. An invalid file is logged, and changes nothing.

        :param changed: awaited when permissions have changed.
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

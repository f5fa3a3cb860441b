"""Files that are followed: looked at again and again, and once they have changed, read until that has succeeded."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import anyio
from anyio import to_thread

from watcher.core.errors import SettingError
from watcher.core.settings import setting

__all__ = ["WatchedFile"]

logger = logging.getLogger(__name__)

#: What stops a file from being taken is told at once, and then again after so long, in seconds.
_REPEAT: Final = 60.0

#: What is another when a file is: it was replaced, a link to it moved, it was written to, or its rights were changed.
_Mark: TypeAlias = tuple[int, int, int, int, int] | None


class WatchedFile:
    """The files of one setting, or of several that belong together.

    :param field: of the setting that names the first of them; what metrics call them.
    :param paths: of all of them.
    :param kept: what the log says, before the reason, while they can't be taken.
    :param look: seconds after which they are looked at again. One that is being written is left alone until two looks
        find it the same: half a table may be a table that is whole, and takes rights away.
    :param repeat: seconds after which it is told again what stops them from being taken.
    """

    def __init__(self, field: str, paths: Sequence[str], warning: str, *, look: float, repeat: float = _REPEAT) -> None:
        self.field = field
        #: Whether they have changed, and could not be taken: what they said before holds.
        self.stale = False
        self._paths = paths
        self._warning = warning
        self._look_after = look
        self._repeat = repeat
        self._taken = self._look()
        self._last_warning: tuple[str, float] = ("", 0.0)  # the reason, and when it was told

    async def run(self, take: Callable[[], Awaitable[None]]) -> None:
        """Follow them; never returns. Cancelling it is safe wherever it is safe in ``take``.

        A file that can't be read just now may be readable a second later without having changed: its rights were put
        right, or there are descriptors again. So what failed is tried at each look.

        :param take: reads the files and takes what they say, or raises :exc:`watcher.core.errors.SettingError`.
        """
        before = self._taken
        while True:
            await anyio.sleep(self._look_after)
            marks = await to_thread.run_sync(self._look)
            settled, before = marks == before, marks
            if not settled or (marks == self._taken and not self.stale):
                continue
            try:
                await to_thread.run_sync(self._see_to_files)
                await take()
            except SettingError as error:
                self.stale = True
                self._tell(str(error))
            else:
                self._taken = marks  # as it was before it was read: what is written meanwhile is seen at the next look
                if self.stale:
                    logger.info("%s can be read again", setting(self.field).variable)
                self.stale = False
                self._last_warning = ("", 0.0)

    def _see_to_files(self) -> None:
        """See that none has become a pipe or a device: to read one may never end, and nothing would be followed then.

        :raises SettingError: one has.
        """
        for path in self._paths:
            try:
                mode = os.stat(path).st_mode  # noqa: PTH116 - a Path would say the same
            except (OSError, ValueError):
                continue  # whoever reads it says why it can't be read
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise SettingError(setting(self.field).variable, path, "it is no longer a regular file")

    def _tell(self, why: str) -> None:
        last_reason, moment = self._last_warning
        now = time.monotonic()
        if why != last_reason or now - moment >= self._repeat:
            self._last_warning = (why, now)
            logger.warning("%s: %s", self._warning, why)

    def _look(self) -> tuple[_Mark, ...]:
        return tuple(map(_mark, self._paths))


def _mark(path: str) -> _Mark:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path would say the same
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

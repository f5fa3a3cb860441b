"""Lists of tasks as files: ``GET /api/tasks?format=csv`` and ``ndjson``, made and sent a page at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from msgspec import Raw
from starlette.requests import Request
from starlette.types import Send

from watcher.core import task_csv
from watcher.core.errors import Refused
from watcher.core.permissions import Grant
from watcher.relay.api.queries import ListQuery
from watcher.relay.http.streaming import StreamedAnswer, StreamServices
from watcher.relay.limits.metering import turn
from watcher.relay.limits.socket_backlog import SocketProgress

__all__ = ["MEDIA_TYPES", "Export", "Format", "Pages", "beginning", "chosen", "rows"]

logger = logging.getLogger(__name__)

Format: TypeAlias = Literal["json", "csv", "ndjson"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
}
Cursor: TypeAlias = int | str | None
#: Tasks that are fetched, and sent, at a time.
_PAGE: Final = 100
_WEIGHT: Final = re.compile(r"q=[01](\.[0-9]{0,3})?")


def chosen(request: Request, asked: str | None) -> Format:
    """The format of an answer.

    :param asked: the parameter ``format``; else the header ``Accept`` decides, and where that leaves it open, JSON.
    """
    weights = _weights(request.headers.get("accept", ""))
    anything = max(weights.get("application/*", 0.0), weights.get("*/*", 0.0))
    best: Format = "json"
    most = weights.get(MEDIA_TYPES["json"], anything)
    for name, kind in MEDIA_TYPES.items():
        if name == asked:
            return name
        if weights.get(kind, 0.0) > most:
            best, most = name, weights[kind]
    return best if asked is None else "json"


def _weights(accept: str) -> dict[str, float]:
    """Media type → weight of a header ``Accept`` (RFC 9110, 12.5.1)."""
    weights: dict[str, float] = {}
    for member in accept.split(","):
        kind, *parameters = [part.strip().lower() for part in member.split(";")]
        given = [each.removeprefix("q=") for each in parameters if _WEIGHT.fullmatch(each)]
        weights[kind] = float(given[0]) if given else 1.0
    return weights


def beginning(format: Format) -> bytes:  # noqa: A002 - as the parameter is called
    """What stands before the first row."""
    return task_csv.header() if format == "csv" else b""


def rows(format: Format, tasks: Iterable[Raw]) -> bytes:  # noqa: A002 - as above
    """A row of each task, given as JSON."""
    if format == "csv":
        return task_csv.rows(tasks)
    return b"".join([bytes(task) + b"\n" for task in tasks])


class Pages:
    """All tasks of a list, a page after the other.

    :param fetch: a page of a list; it returns its tasks, and where the next page begins, None where there is none.
    :param most: how many tasks are wanted; None: all.
    """

    def __init__(
        self,
        fetch: Callable[[ListQuery], Awaitable[tuple[Sequence[Raw], Cursor]]],
        asked: ListQuery,
        most: int | None,
    ) -> None:
        self._fetch = fetch
        self._asked = asked
        self._left = most
        #: Whether there are no more.
        self.over = False

    async def take(self) -> Sequence[Raw]:
        """The next page."""
        limit = _PAGE if self._left is None else min(_PAGE, self._left)
        tasks, following = await self._fetch(replace(self._asked, limit=limit))
        self._asked = replace(self._asked, before=following)
        self._left = None if self._left is None else self._left - len(tasks)
        self.over = following is None or self._left == 0
        return tasks


class Export(StreamedAnswer):
    """All tasks that are asked for, as a file, a page at a time: a reader that is slow makes the next page wait.

    :param first: the first page of ``pages``.
    """

    def __init__(
        self,
        services: StreamServices,
        grant: Grant,
        format: Format,  # noqa: A002 - as the parameter is called
        first: Sequence[Raw],
        pages: Pages,
        *,
        by_token: bool,
    ) -> None:
        headers = {
            "Content-Type": f"{MEDIA_TYPES[format]}; charset=utf-8",
            "Content-Disposition": f'attachment; filename="tasks.{format}"',
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # else a proxy takes all of it, however slow its client is
        }
        super().__init__(services, grant, headers, by_token=by_token)
        self._format = format
        self._first = first
        self._pages = pages

    async def send_all(self, send: Send, progress: SocketProgress) -> bool:
        """Send page after page; what can't be had any more cuts it off."""
        data = beginning(self._format) + rows(self._format, self._first)
        while await self.send_piece(send, data, progress):
            if self._pages.over:
                return True
            await turn()  # others, and events, have theirs
            if not self.lasts():
                return False
            try:
                data = rows(self._format, await self._pages.take())
            except Refused as error:
                logger.warning("a list of tasks was cut off: %s", error)
                return False
        return False

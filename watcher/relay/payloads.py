"""What an app's result backend has stored of tasks, read in threads, for many who ask at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import anyio
import anyio.to_thread
from celery import Celery

from watcher.errors import Unavailable
from watcher.relay.batched import Batched, NotAsked
from watcher.relay.threads import Threads
from watcher.stored import READERS, Stored

__all__ = ["Payloads"]

#: A read takes at most this long, waiting for its turn included, in seconds.
_CALL: Final = 2.5


class Payloads:
    """The result backend, for any number of readers; :data:`watcher.stored.READERS` reads are under way at a time."""

    def __init__(self, app: Celery) -> None:
        self._stored = Stored(app)
        self._threads = Threads(READERS)
        self._batched: Batched[str, bytes | None] = Batched(self._ask, lanes=READERS, most=lambda: self._stored.at_once)

    async def read(self, identity: str) -> bytes | None:
        """What is stored of a task, as it is stored; None where nothing is, or where it isn't JSON. Safe to cancel.

        :raises Unavailable: the backend doesn't answer, or not in time for so many. TooMany: too many wait already.
        """
        try:
            return await self._batched.get(identity, _CALL)
        except NotAsked:
            raise Unavailable("the result backend doesn't keep up with what it is asked") from None
        except TimeoutError:
            raise Unavailable("the result backend doesn't answer") from None

    async def _ask(self, identities: list[str]) -> Sequence[bytes | None]:
        try:
            return await self._threads.run(functools.partial(self._stored.read, identities), _CALL)
        except Exception as error:  # each kind of backend has a driver with errors of its own
            why = f": {error}" if str(error) else ""
            raise Unavailable(f"the result backend doesn't answer{why}") from error

    async def aclose(self) -> None:
        """Close the connections to the backend."""
        await anyio.to_thread.run_sync(self._stored.close, abandon_on_cancel=True)

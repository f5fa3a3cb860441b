"""Writes a sign of life every few seconds. By it relays tell a running task from one that was lost with its worker."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from redis.exceptions import RedisError

from watcher.core.backoff import Backoff
from watcher.journal.connect import HEARTBEAT, Target, target_of
from watcher.journal.layout import Journal
from watcher.journal.scripts import BEAT

__all__ = ["RETRY", "Heartbeat"]

logger = logging.getLogger("watcher")

#: Seconds between two signs of life. A relay takes a worker for gone after five of them.
_EVERY: Final = 2.0
#: Seconds to the next try after a sign of life that could not be written.
RETRY: Final = Backoff(first=_EVERY, longest=_EVERY)


class Heartbeat:
    """One worker's signs of life, from a thread of its main process until :meth:`stop`.

    :param url: the Redis that the journal is in.
    :param hostname: the worker's, as its events have it.
    :param incarnation: of its process, which the names of its runs begin with: several workers may share a hostname,
        and one that was started again has it, too.
    """

    def __init__(self, url: Target | str, journal: Journal, hostname: str, incarnation: str) -> None:
        self._target = target_of(url)
        self._journal = journal
        self._name = f"{hostname} {incarnation}"
        self._started = time.time()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher-presence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the signs of life; returns at once. Whatever this worker has not finished counts as lost."""
        self._ended.set()

    def _run(self) -> None:
        with self._target.client(HEARTBEAT) as redis:
            beat = redis.register_script(BEAT)
            while True:
                wait = _EVERY
                try:
                    beat(keys=[self._journal.workers], args=[self._name, f"{self._started:.6f}"])
                except (RedisError, OSError) as error:
                    logger.debug("watcher: no sign of life could be given: %s", error)
                    wait = RETRY.seconds(0)
                if self._ended.wait(wait):
                    return

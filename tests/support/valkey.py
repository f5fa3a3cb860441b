"""A real Valkey server for tests, with what a fault test needs besides."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from watcher.dev.valkey import EmbeddedValkey


class Valkey:
    """A running server."""

    def __init__(self, embedded: EmbeddedValkey) -> None:
        self._embedded = embedded
        self.host, self.port = embedded.address, embedded.port
        with self.client() as redis:
            self.pid = int(redis.info("server")["process_id"])

    def url(self, database: int = 0) -> str:
        """The redis:// URL of one of its 16 databases."""
        return self._embedded.url(database)

    def client(self, database: int = 0) -> Redis:
        """A new client; `with valkey.client() as redis`."""
        return Redis.from_url(self.url(database), socket_timeout=5)

    def flush(self, *databases: int) -> None:
        """Forget everything, in all databases or in some.

        A worker that goes on needs what it left in the broker's: without it nothing that is told to all workers comes.
        """
        if not databases:
            with self.client() as redis:
                redis.flushall()
        for database in databases:
            with self.client(database) as redis:
                redis.flushdb()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP it for the time of a `with` block: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._embedded.process.wait(5)


@contextmanager
def valkey_server(*, port: int = 0, data: Path | None = None) -> Iterator[Valkey]:
    """A server of one's own, for a test that freezes, kills or restarts it.

    :param port: 0 takes a free one; a fixed one is for a server that comes back at the same address.
    :param data: directory of its append-only file; None keeps nothing.
    """
    with EmbeddedValkey(port=port, data=data, restricted=False) as embedded:
        yield Valkey(embedded)

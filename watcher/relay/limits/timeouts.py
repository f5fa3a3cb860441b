"""Time-outs of connections: for a request, its body, a reader, a refused client.

No connection has a timer of its own: the relay's ticker ends those that are due.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from watcher.core.settings import Settings
from watcher.relay.limits.limits import Deadlines
from watcher.relay.limits.open_files import lingering

__all__ = ["Timeouts"]

#: Seconds that a refused client has to read why; a bounded number at a time, the others have none.
_LINGER: Final = 1.0
#: A client that takes no byte of an answer for this long, in seconds, is dropped.
_STALLED: Final = 60.0
#: Seconds that a body's time-out is longer than its reader's, which gives the better error.
_GRACE: Final = 2.0


class TimedConnection(Protocol):
    """A connection from which something is awaited."""

    def too_slow(self, limit: str) -> None:
        """Its time is up; returns the name of the setting."""


class ReadingClient(TimedConnection, Protocol):
    """A connection whose client also reads an answer."""

    transport: Any

    def drop_if_stalled(self, now: float) -> None:
        """Cut the connection if the client has taken nothing since it was last looked at."""


class Timeouts:
    """Connections with a time-out, by what they are waited for."""

    def __init__(self, settings: Settings) -> None:
        self.headers: Deadlines[TimedConnection] = Deadlines(settings.header_timeout)
        self.bodies: Deadlines[ReadingClient] = Deadlines(settings.body_timeout + _GRACE)
        self.readers: Deadlines[ReadingClient] = Deadlines(_STALLED)
        self.lingering: Deadlines[ReadingClient] = Deadlines(_LINGER)
        self.most_lingering = lingering(settings.max_connections)

    def drop(self, connection: ReadingClient) -> None:
        """The connection is gone."""
        for deadlines in (self.headers, self.bodies, self.readers, self.lingering):
            deadlines.stop(connection)

    def end(self, now: float) -> bool:
        """End some of the connections whose time is up; returns whether there were any, and there may be more.

        :param now: the event loop's time, in seconds.
        """
        headers, bodies = self.headers.due(now), self.bodies.due(now)
        readers, refused = self.readers.due(now), self.lingering.due(now)
        for sender in headers:
            sender.too_slow("header_timeout")
        for connection in bodies:
            connection.too_slow("body_timeout")
        for connection in readers:
            connection.drop_if_stalled(now)
        for connection in refused:
            connection.transport.abort()
        return bool(headers or bodies or readers or refused)

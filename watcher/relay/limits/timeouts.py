"""Who is waited for over a connection, and until when: for a request, its body, a reader, somebody who was refused.

Nobody has a timer of their own: the relay's ticker looks who is due.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from watcher.core.settings import Settings
from watcher.relay.limits.limits import Deadlines
from watcher.relay.limits.open_files import lingering

__all__ = ["Timeouts"]

#: Whoever is refused has this long to read why, in seconds; a bounded number at a time, and others none.
_LINGER: Final = 1.0
#: A client that takes no byte of an answer for this long is dropped, in seconds.
_STALLED: Final = 60.0
#: A body has so many seconds more than whoever reads it waits: it is the one who can say so.
_GRACE: Final = 2.0


class TimedConnection(Protocol):
    """Somebody who is to say something."""

    def too_slow(self, limit: str) -> None:
        """Their time is over; the setting's name."""


class ReadingClient(TimedConnection, Protocol):
    """Somebody who also reads an answer."""

    transport: Any

    def drop_if_stalled(self, now: float) -> None:
        """Cut the connection if the client has taken nothing since it was last looked at."""


class Timeouts:
    """Connections that are waited for, by what for."""

    def __init__(self, settings: Settings) -> None:
        self.headers: Deadlines[TimedConnection] = Deadlines(settings.header_timeout)
        self.bodies: Deadlines[ReadingClient] = Deadlines(settings.body_timeout + _GRACE)
        self.readers: Deadlines[ReadingClient] = Deadlines(_STALLED)
        self.lingering: Deadlines[ReadingClient] = Deadlines(_LINGER)
        self.most_lingering = lingering(settings.max_connections)

    def drop(self, connection: ReadingClient) -> None:
        """It is gone."""
        for each in (self.headers, self.bodies, self.readers, self.lingering):
            each.stop(connection)

    def end(self, now: float) -> bool:
        """End some of those whose time is over; whether there were any, and may be more.

        :param now: the event loop's time, in seconds.
        """
        headers, bodies = self.headers.due(now), self.bodies.due(now)
        readers, refused = self.readers.due(now), self.lingering.due(now)
        for each in headers:
            each.too_slow("header_timeout")
        for connection in bodies:
            connection.too_slow("body_timeout")
        for connection in readers:
            connection.drop_if_stalled(now)
        for connection in refused:
            connection.transport.abort()
        return bool(headers or bodies or readers or refused)

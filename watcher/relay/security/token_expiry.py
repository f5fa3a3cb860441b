"""When clients' tokens expire: finds expired ones without scanning all, and without a timer per client."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

__all__ = ["TokenExpiries"]

T = TypeVar("T")


class TokenExpiries(Generic[T]):
    """Clients by the second at which their token expires, one time per client."""

    def __init__(self) -> None:
        self._seconds: dict[T, int] = {}
        self._clients: dict[int, set[T]] = {}
        self._order: list[int] = []  # a heap of the keys of _clients

    def __len__(self) -> int:
        """Number of clients with an expiry."""
        return len(self._seconds)

    def put(self, client: T, moment: float | None) -> None:
        """Set when the client's token expires, in Unix seconds; None: never."""
        self.drop(client)
        if moment is None:
            return
        # Rounded up, so never too early; the maximum keeps infinity out.
        second = -int(-min(moment, 1e15) // 1)
        self._seconds[client] = second
        if second not in self._clients:
            self._clients[second] = set()
            heapq.heappush(self._order, second)
        self._clients[second].add(client)

    def drop(self, client: T) -> None:
        """Forget a client; does nothing if it has no expiry."""
        second = self._seconds.pop(client, None)
        if second is not None:
            self._clients[second].discard(client)

    def due(self, now: float) -> list[T]:
        """Remove and return the clients whose token has expired at Unix time ``now``."""
        expired: list[T] = []
        while self._order and self._order[0] <= now:
            expired += self._clients.pop(heapq.heappop(self._order))
        for client in expired:
            del self._seconds[client]
        return expired

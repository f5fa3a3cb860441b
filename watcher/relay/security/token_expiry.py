"""When clients' tokens end: whose time is over is found without looking at the others, and without a timer each."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

__all__ = ["TokenExpiries"]

T = TypeVar("T")


class TokenExpiries(Generic[T]):
    """Clients by the second at which something of theirs ends, one moment a client."""

    def __init__(self) -> None:
        self._seconds: dict[T, int] = {}
        self._clients: dict[int, set[T]] = {}
        self._order: list[int] = []  # a heap of the keys of _clients

    def __len__(self) -> int:
        """How many clients have a moment."""
        return len(self._seconds)

    def put(self, client: T, moment: float | None) -> None:
        """The client's moment is this one from now on, in Unix seconds; None: it has none."""
        self.drop(client)
        if moment is None:
            return
        # Up to the next whole second: never before the moment. And nothing is so far away that it isn't a number.
        second = -int(-min(moment, 1e15) // 1)
        self._seconds[client] = second
        if second not in self._clients:
            self._clients[second] = set()
            heapq.heappush(self._order, second)
        self._clients[second].add(client)

    def drop(self, client: T) -> None:
        """Forget a client; nothing happens where it has no moment."""
        second = self._seconds.pop(client, None)
        if second is not None:
            self._clients[second].discard(client)

    def due(self, now: float) -> list[T]:
        """Take out the clients whose moment has come, by Unix time ``now``."""
        found: list[T] = []
        while self._order and self._order[0] <= now:
            found += self._clients.pop(heapq.heappop(self._order))
        for client in found:
            del self._seconds[client]
        return found

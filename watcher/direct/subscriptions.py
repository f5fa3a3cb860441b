"""Who waits for which task, and what its subscriber connection is to be told for that. Pure.

Redis carries out the commands of a connection in their order, and confirms them in it. So a task is *listened to* when
the last command about it was SUBSCRIBE, and all of its SUBSCRIBEs are confirmed: from then on nothing is missed, and
who looks now has what was before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["Interest"]

L = TypeVar("L")


class _Entry(Generic[L]):
    __slots__ = ("listeners", "on", "unconfirmed")

    def __init__(self) -> None:
        self.listeners: dict[L, None] = {}
        self.on = False
        self.unconfirmed = 0


class Interest(Generic[L]):
    """Listeners by name, and the difference between what is wanted and what was asked of Redis."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry[L]] = {}
        self._changed: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        """The names that somebody listens to."""
        return iter([name for name, entry in self._entries.items() if entry.listeners])

    def __len__(self) -> int:
        """How many names are known: those being listened to, and those not yet let go of."""
        return len(self._entries)

    def listeners(self, name: str) -> Collection[L]:
        """Who listens to ``name``; a copy, since whoever is told may leave."""
        entry = self._entries.get(name)
        return tuple(entry.listeners) if entry is not None else ()

    def everybody(self) -> list[L]:
        """All listeners, each once."""
        return list(dict.fromkeys(listener for entry in self._entries.values() for listener in entry.listeners))

    def join(self, name: str, listener: L) -> bool:
        """Listen to ``name``; returns whether it is listened to already, so that there will be no confirmation."""
        entry = self._entries.setdefault(name, _Entry())
        entry.listeners[listener] = None
        if not entry.on:
            self._changed[name] = None
        return entry.on and not entry.unconfirmed

    def leave(self, name: str, listener: L) -> None:
        """Listen no more; does nothing where it doesn't listen."""
        entry = self._entries.get(name)
        if entry is None:
            return
        entry.listeners.pop(listener, None)
        if not entry.listeners:
            if entry.on:
                self._changed[name] = None
            else:
                self._drop(name, entry)

    def change(self, most: int) -> tuple[list[str], list[str]]:
        """What to subscribe to and what to unsubscribe from next, ``most`` names at most; taken as done."""
        names = list(islice(self._changed, most))
        subscribe, unsubscribe = [], []
        for name in names:
            del self._changed[name]
            entry = self._entries.get(name)
            if entry is None or entry.on == bool(entry.listeners):
                continue
            entry.on = not entry.on
            if entry.on:
                entry.unconfirmed += 1
                subscribe.append(name)
            else:
                unsubscribe.append(name)
                self._drop(name, entry)
        return subscribe, unsubscribe

    def confirm(self, name: str) -> bool:
        """Redis has confirmed a SUBSCRIBE; returns whether somebody listens to ``name`` from now on.

        :raises ConnectionError: nobody asked for it: the connection is another one than it was.
        """
        entry = self._entries.get(name)
        if entry is None or not entry.unconfirmed:
            raise ConnectionError("the connection was replaced")
        entry.unconfirmed -= 1
        self._drop(name, entry)
        return entry.on and not entry.unconfirmed and bool(entry.listeners)

    def renew(self) -> None:
        """There is a new connection, which has heard of nothing yet."""
        self._changed.clear()
        for name, entry in list(self._entries.items()):
            entry.on, entry.unconfirmed = False, 0
            if entry.listeners:
                self._changed[name] = None
            else:
                self._drop(name, entry)

    def _drop(self, name: str, entry: _Entry[L]) -> None:
        """Forget ``name`` if nothing is to be known of it any more."""
        if not (entry.listeners or entry.on or entry.unconfirmed):
            del self._entries[name]
            self._changed.pop(name, None)

"""The list of tasks that may be submitted, encoded once for all clients with the same permissions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from watcher.relay.api.schemas import Registry

__all__ = ["TaskListCache"]

T = TypeVar("T")

#: Most encoded lists in the cache, the most recently used ones, and most bytes of all of them.
_KEPT: Final = 64
_BYTES: Final = 16 * 1024 * 1024


class TaskListCache:
    """Cache of registries as JSON, emptied when the app's tasks change."""

    def __init__(self) -> None:
        self._tasks: Sequence[Any] = ()
        self._encoded: dict[Hashable, msgspec.Raw] = {}
        self._size = 0

    def encoded(self, rights: Hashable, tasks: Sequence[T], make: Callable[[Sequence[T]], Registry]) -> msgspec.Raw:
        """The registry for a client with these rights.

        :param rights: what the registry depends on besides the tasks; the cache key.
        :param tasks: all tasks of the app, compared by identity, not by name.
        :param make: makes the registry of the tasks.
        """
        if len(tasks) != len(self._tasks) or any(map(_differ, tasks, self._tasks)):
            self._tasks, self._size = list(tasks), 0
            self._encoded.clear()
        encoded = self._encoded.pop(rights, None)
        if encoded is None:
            encoded = msgspec.Raw(msgspec.json.encode(make(tasks)))
            self._size += len(bytes(encoded))
        self._encoded[rights] = encoded
        while len(self._encoded) > _KEPT or (self._size > _BYTES and len(self._encoded) > 1):
            self._size -= len(bytes(self._encoded.pop(next(iter(self._encoded)))))
        return encoded


def _differ(one: object, other: object) -> bool:
    return one is not other

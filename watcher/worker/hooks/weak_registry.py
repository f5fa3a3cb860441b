"""Objects by id, as long as somebody else keeps them."""

from __future__ import annotations

from typing import Final, Generic, TypeVar
from weakref import ref

__all__ = ["WeakRegistry"]

T = TypeVar("T")

#: So many entries are kept before those are looked for whose objects are gone.
_FIRST_SWEEP: Final = 1000


class WeakRegistry(Generic[T]):
    """A ``WeakValueDictionary`` of which nothing is called when an object goes: that would be for each task.

    What is gone is swept out now and then, so that it holds at most twice as many entries as there are objects, and a
    thousand.
    """

    __slots__ = ("_refs", "_sweep_at")

    def __init__(self) -> None:
        self._refs: dict[str, ref[T]] = {}
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        """How many entries there are, those included whose objects are gone."""
        return len(self._refs)

    def add(self, identity: str, member: T) -> None:
        """Remember ``member``, in the place of what had this id."""
        if len(self._refs) >= self._sweep_at:
            self._refs = {key: reference for key, reference in self._refs.items() if reference() is not None}
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._refs))
        self._refs[identity] = ref(member)

    def get(self, identity: str) -> T | None:
        """What has this id; None where it is gone, or never was."""
        reference = self._refs.get(identity)
        return reference() if reference is not None else None

"""Objects by id, as long as somebody else keeps them."""

from __future__ import annotations

from typing import Final, Generic, TypeVar
from weakref import ref

__all__ = ["WeakRegistry"]

T = TypeVar("T")

#: Number of entries from which on dead objects are looked for.
_FIRST_SWEEP: Final = 1000


class WeakRegistry(Generic[T]):
    """A ``WeakValueDictionary`` without callbacks: a callback would run for every task that ends.

    Entries of dead objects are swept out now and then: there are at most twice as many entries as live objects, plus a
    thousand.
    """

    __slots__ = ("_refs", "_sweep_at")

    def __init__(self) -> None:
        self._refs: dict[str, ref[T]] = {}
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        """Number of entries, including those of dead objects."""
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

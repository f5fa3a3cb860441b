"""What a batch of changed rows adds to the rollups, and takes away. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from watcher.catalogue.rows import RUNTIME, WAITED, Row, minute_of

__all__ = ["ALL_TIME", "Deltas"]

#: The minute that stands for all of them.
ALL_TIME: Final = -1

_Minute = tuple[int, str]
_ENDS: Final = {"SUCCESS": "succeeded", "FAILURE": "failed"}
_SUMS: Final = ("sent", "changed", "succeeded", "failed", "other")
_PLACES: Final = {name: place for place, name in enumerate(_SUMS)}


class Deltas:
    """The changes of one transaction."""

    def __init__(self) -> None:
        self._tallies: Counter[tuple[Any, ...]] = Counter()
        self._minutes: dict[_Minute, list[int]] = {}
        self._longest: dict[_Minute, list[float]] = {}
        self._durations: Counter[tuple[int, str, int, int]] = Counter()
        self._spans: dict[int, tuple[int, int]] = {}

    def change(self, before: Row | None, after: Row | None) -> None:
        """A row has come (None before), changed, or gone (None after)."""
        if before is not None:
            self._count(before, -1)
        if after is not None:
            self._count(after, 1)
            self._note(after)

    def touch(self, before: Row, after: Row) -> None:
        """Only when it was touched differs."""
        if minute_of(before.changed) != minute_of(after.changed):
            self.change(before, after)
        else:
            self._note(after)

    def tallies(self) -> list[tuple[Any, ...]]:
        """Rows of ``tallies``."""
        return [(*key, count) for key, count in self._tallies.items() if count]

    def minutes(self) -> list[tuple[Any, ...]]:
        """Rows of ``minutes``."""
        nothing = [0] * len(_SUMS)
        return [
            (*key, *self._minutes.get(key, nothing), *self._longest.get(key, (0.0, 0.0, 0.0)))
            for key in {**self._minutes, **self._longest}
        ]

    def durations(self) -> list[tuple[int, str, int, int, int]]:
        """Rows of ``durations``."""
        return [(*key, count) for key, count in self._durations.items() if count]

    def spans(self) -> list[tuple[int, int, int]]:
        """Rows of ``spans``."""
        return [(minute, *span) for minute, span in self._spans.items()]

    def _count(self, row: Row, sign: int) -> None:
        self._tallies[row.tally()] += sign
        name = row.name or ""
        minute = minute_of(row.changed)
        if row.sent is not None:
            self._sums(minute_of(row.sent), name)[0] += sign
        place = _PLACES[_ENDS.get(row.state, "other")] if row.final else None
        for each in (minute, ALL_TIME):
            sums = self._sums(each, name)
            sums[1] += sign
            if place is not None:
                sums[place] += sign
        if row.final:
            self._take(minute, name, RUNTIME, row.runtime_class, sign)
            self._take(minute, name, WAITED, row.waited_class, sign)

    def _take(self, minute: int, name: str, what: int, group: int | None, sign: int) -> None:
        if group is not None:
            self._durations[minute, name, what, group] += sign
            self._durations[ALL_TIME, name, what, group] += sign

    def _sums(self, minute: int, name: str) -> list[int]:
        found = self._minutes.get((minute, name))
        if found is None:
            found = self._minutes[minute, name] = [0] * len(_SUMS)
        return found

    def _note(self, row: Row) -> None:
        minute = minute_of(row.changed)
        low, high = self._spans.get(minute, (row.touched, row.touched))
        self._spans[minute] = min(low, row.touched), max(high, row.touched)
        for each in (minute, ALL_TIME):
            longest = self._longest.setdefault((each, row.name or ""), [0.0, 0.0, 0.0])
            longest[0] = max(longest[0], row.changed)
            if row.final:
                longest[1] = max(longest[1], row.runtime or 0.0)
                longest[2] = max(longest[2], row.waited or 0.0)

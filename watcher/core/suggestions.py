"""Suggestions for a mistyped name. Pure."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Suggestions", "close_to", "state_meant"]

#: Least similarity of two names for a suggestion; 1 means equal.
_ALIKE: Final = 0.75
#: Longest name that gets a suggestion, in characters.
_LONGEST: Final = 255
#: Comparing takes some microseconds per name: with more names than this, only equal last parts are compared …
_MOST: Final = 500
#: … and at most this many suggestions are made at once, then one per so many seconds.
_BURST: Final = 20
_SECONDS: Final = 0.1
#: Other names of the final states. Not here: names that a task may well use for a custom state.
_FINAL: Final = ("FAILURE", "IGNORED", "REJECTED", "REVOKED", "SUCCESS")
_ALIASES: Final = {
    "FAILED": "FAILURE", "FAIL": "FAILURE", "FAILS": "FAILURE",
    "SUCCEEDED": "SUCCESS", "SUCCEED": "SUCCESS", "SUCCESSFUL": "SUCCESS",
}  # fmt: skip
_ALMOST: Final = 0.85


def state_meant(state: str) -> str | None:
    """The final state that was probably meant by a wrong name; None if the name is right, or a custom state."""
    name = state.strip().upper()
    if state in _FINAL:
        return None
    if name in _ALIASES:
        return _ALIASES[name]
    return close_to(name, _FINAL)


def close_to(given: str, names: Sequence[str], alike: float = _ALMOST) -> str | None:
    """The name that is most like the given one; None if none is like it.

    :param alike: least similarity (that of :mod:`difflib`); 1 means equal.
    """
    if len(given) > _LONGEST:
        return None
    return next(iter(difflib.get_close_matches(given, names, 1, alike)), None)


class Suggestions:
    """Suggests which name was meant, within a bounded amount of work.

    :param clock: monotonic time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = float(_BURST)
        self._since = clock()

    def meant(self, name: str, names: Callable[[], Sequence[str]]) -> str:
        """What to append to "no such name": a question, or nothing.

        :param names: all names that the client may see; called only when a suggestion is made.
        """
        now = self._clock()
        self._free = min(_BURST, self._free + (now - self._since) / _SECONDS)
        self._since = now
        if self._free < 1:
            return ""
        self._free -= 1
        nearest = _nearest(name, names())
        return f"; did you mean {nearest!r}?" if nearest is not None else ""


def _nearest(unknown: str, names: Sequence[str]) -> str | None:
    last = unknown.rpartition(".")[2].lower()
    same = [name for name in names if name.rpartition(".")[2].lower() == last]
    if len(same) == 1:
        return same[0]
    among = same or (names if len(names) <= _MOST else [])
    return close_to(unknown, among, 0.0 if same else _ALIKE)

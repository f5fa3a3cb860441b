"""What somebody may have meant who named what there isn't. Pure."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Suggestions", "state_meant"]

#: How alike two names are that one may be mistaken for the other; 1 is the same.
_ALIKE: Final = 0.75
#: A longer name is no mistake, in characters.
_LONGEST: Final = 255
#: Guessing takes a processor some microseconds a name: of more than so many only equal last parts are looked at …
_MOST: Final = 500
#: … and it is done so often at once, and then once in so many seconds.
_BURST: Final = 20
_SECONDS: Final = 0.1
#: What ends a task is called otherwise in people's heads. Not here: what a task may well call a state of its own.
_FINAL: Final = ("FAILURE", "IGNORED", "REJECTED", "REVOKED", "SUCCESS")
_ALIASES: Final = {
    "FAILED": "FAILURE", "FAIL": "FAILURE", "FAILS": "FAILURE",
    "SUCCEEDED": "SUCCESS", "SUCCEED": "SUCCESS", "SUCCESSFUL": "SUCCESS",
}  # fmt: skip
_ALMOST: Final = 0.85


def state_meant(state: str) -> str | None:
    """The final state that a state's name is a mistake for; None where it is right, or a task's own."""
    name = state.strip().upper()
    if state in _FINAL:
        return None
    if name in _ALIASES:
        return _ALIASES[name]
    return next(iter(difflib.get_close_matches(name, _FINAL, 1, _ALMOST)), None)


class Suggestions:
    """Says which name may have been meant, and not more often than costs little.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = float(_BURST)
        self._since = clock()

    def meant(self, given: str, names: Callable[[], Sequence[str]]) -> str:
        """What to say after "there is no such name": a question, or nothing.

        :param names: all that there are, for whoever asks; only called where it is guessed.
        """
        now = self._clock()
        self._free = min(_BURST, self._free + (now - self._since) / _SECONDS)
        self._since = now
        if self._free < 1:
            return ""
        self._free -= 1
        found = _nearest(given, names())
        return f"; did you mean {found!r}?" if found is not None else ""


def _nearest(given: str, names: Sequence[str]) -> str | None:
    if len(given) > _LONGEST:
        return None
    last = given.rpartition(".")[2].lower()
    same = [name for name in names if name.rpartition(".")[2].lower() == last]
    if len(same) == 1:
        return same[0]
    among = same or (names if len(names) <= _MOST else [])
    return next(iter(difflib.get_close_matches(given, among, 1, 0.0 if same else _ALIKE)), None)

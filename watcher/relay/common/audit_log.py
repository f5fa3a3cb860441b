"""The log of what was refused: who, what and why, in one line each, and no more lines than somebody can read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

__all__ = ["REFUSED", "AuditLog", "LineBudget"]

logger = logging.getLogger(__name__)

#: Statuses that are worth a line: no valid token, not permitted, too often. The others are the client's own mistakes.
REFUSED: Final = frozenset((401, 403, 429))
#: So many lines at once, and then one for each of these seconds: 8 MB a day at most, by a flood without end.
_BURST: Final = 20
_SECONDS: Final = 1.0
#: What a client sent is shown up to here, in characters.
_SHOWN: Final = 200


class LineBudget:
    """How many lines may still be written.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines = float(_BURST)
        self._at = clock()
        self._left_out = 0

    def take(self) -> int | None:
        """One more line: how many were left out before it, or None where it is left out too."""
        now = self._clock()
        self._lines = min(float(_BURST), self._lines + (now - self._at) / _SECONDS)
        self._at = now
        if self._lines < 1:
            self._left_out += 1
            return None
        self._lines -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class AuditLog:
    """Tells the log, and says how many it has kept to itself meanwhile.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = LineBudget(clock)

    def tell(self, address: str | None, what: str, why: str, *, subject: str | None = None) -> None:
        """One more.

        :param address: of the client, where it is known; behind a proxy, that of the proxy.
        :param what: route, method or command. ``why``: the reason, with the setting that would allow it.
        :param subject: whose the token is (``sub``).
        """
        if (left_out := self._budget.take()) is None:
            return
        more = f" ({left_out} more not shown)" if left_out else ""
        who = _plain(address or "somebody") + (f" as {_plain(subject)}" if subject else "")
        logger.warning("refused %s to %s: %s%s", _plain(what), who, _plain(why, 3 * _SHOWN), more)


def _plain(text: str, limit: int = _SHOWN) -> str:
    """Without what a terminal or a reader of lines would take for something else."""
    return "".join(c if c.isprintable() and c.isascii() else ascii(c)[1:-1] for c in text[:limit])

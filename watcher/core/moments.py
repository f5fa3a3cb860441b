"""Moments as ISO 8601 writes them, as Unix time. Pure, and the same wherever they are read: the page has them, too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

__all__ = ["Wall", "iso", "utc_text"]

_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:([Zz])|([+-])([0-9]{2})(?::?([0-9]{2}))?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Wall(NamedTuple):
    """A date and a time of day, as a clock on a wall shows them: of no zone."""

    year: int
    month: int
    day: int
    hour: int = 0
    minute: int = 0
    second: int = 0
    microsecond: int = 0

    def at(self, zone: tzinfo | None) -> int:
        """The moment in Unix microseconds at which clocks of ``zone`` show it; None is the machine's own zone.

        Of two moments the first; what the clocks jump over is counted on from before the jump, as JavaScript does.
        """
        return (datetime(*self, tzinfo=zone).astimezone(UTC) - _EPOCH) // _MICROSECOND


def iso(text: str) -> int | Wall | None:
    """A moment from its text, to the microsecond.

    :return: Unix microseconds, the time on the wall where the text has no offset, None where it is no moment.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    *numbers, fraction, utc, sign, hours, minutes = found.groups()
    wall = Wall(*map(int, (*numbers[:5], numbers[5] or 0, (fraction or "").ljust(6, "0")[:6])))
    if not _exists(wall):
        return None
    if utc:
        return wall.at(UTC)
    if not sign:
        return wall
    offset = int(hours) * 60 + int(minutes or 0)
    if int(hours) > 23 or int(minutes or 0) > 59:
        return None
    return wall.at(UTC) - (1 if sign == "+" else -1) * offset * 60_000_000


def _exists(wall: Wall) -> bool:
    try:
        datetime(*wall, tzinfo=UTC)
    except ValueError:
        return False
    return True


def utc_text(moment: int) -> str:
    """A moment in Unix microseconds as ISO 8601 in UTC: ``2026-11-30T03:10:00Z``, with a fraction where it has one."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat().removesuffix("+00:00") + "Z"

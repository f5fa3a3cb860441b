"""What is remembered of channels that have no events in the history any more: up to where each has lost some.

Pure data, of one size from the start on: a relay forgets thousands of channels a minute, for as long as it runs. A
dictionary of the newest 200,000 would take some 40 MiB, and to drop its oldest each time would go through all that were
dropped before. So it is a table of buckets, as in a processor's cache: a channel's hash says in which one it is, and
where that is full the channel leaves that lost its events first.

What it says is exact, or errs on the side of a loss: two channels of the same hash are told the greater offset, and one
that has left the least of its bucket, which is no less than its own.
"""

from __future__ import annotations

from array import array
from typing import Final

__all__ = ["LostOffsets"]

#: 4 MiB in all. Of the newest 200,000 channels one in some thousand has left its bucket.
_BUCKETS: Final = 1 << 15
_WAYS: Final = 16
#: A slot holds 24 bits of a channel's hash, then an offset, counted from the start: 0 is an empty slot.
_OFFSET_BITS: Final = 40
_OFFSET: Final = (1 << _OFFSET_BITS) - 1
_MARK: Final = (1 << 24) - 1


class LostOffsets:
    """Channel → the offset of its newest event that is gone.

    :param start: what is said of a channel that has not lost anything: before that offset nothing is known of any.
    """

    __slots__ = ("_slots", "_start")

    def __init__(self, start: int) -> None:
        self._start = start
        self._slots = array("Q", bytes(8 * _BUCKETS * _WAYS))

    def note(self, channel: str, offset: int) -> None:
        """The channel has lost all its events, the newest of them at ``offset``."""
        first, mark = _bucket(channel)
        distance = min(offset - self._start, _OFFSET)
        least, at = distance, -1
        for index, slot in enumerate(self._slots[first : first + _WAYS]):
            if (slot ^ mark) <= _OFFSET:
                distance = max(distance, slot & _OFFSET)
                at = index
                break
            if slot & _OFFSET < least:
                least, at = slot & _OFFSET, index
        if at >= 0:
            self._slots[first + at] = mark | distance

    def newest(self, channel: str) -> int:
        """The offset after which the channel has lost nothing; it may be greater than it need be."""
        first, mark = _bucket(channel)
        bucket = self._slots[first : first + _WAYS]
        match = next((slot for slot in bucket if slot and (slot ^ mark) <= _OFFSET), None)
        return self._start + (min(slot & _OFFSET for slot in bucket) if match is None else match & _OFFSET)


def _bucket(channel: str) -> tuple[int, int]:
    """Where the channel's bucket begins, and the bits that tell it from others there, where a slot has them."""
    number = hash(channel)
    return (number % _BUCKETS) * _WAYS, ((number >> 20) & _MARK) << _OFFSET_BITS

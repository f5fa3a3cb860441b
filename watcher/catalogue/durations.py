"""Durations by classes, so that quantiles are sums: each class is a tenth longer than the one before. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

__all__ = ["class_of", "quantile", "seconds_of"]

#: Seconds up to which a duration is of the first class.
_LEAST: Final = 1e-4
_GROWTH: Final = 1.1
_LOG: Final = math.log(_GROWTH)
_LAST: Final = 400


def class_of(seconds: float) -> int:
    """The class of a duration: 0 up to a tenth of a millisecond, then one for each tenth more."""
    if seconds <= _LEAST:
        return 0
    return min(_LAST, math.ceil(math.log(seconds / _LEAST) / _LOG))


def seconds_of(number: int) -> float:
    """The duration in the middle of a class, in seconds: no duration in it is further away than 5 %."""
    return 0.0 if number == 0 else _LEAST * _GROWTH ** (number - 0.5)


def quantile(counts: Mapping[int, int], share: float) -> float:
    """The duration, in seconds, that a share of all are no longer than.

    :param counts: how many are of each class; one at least.
    :param share: from 0 to 1.
    """
    wanted = max(1, math.ceil(share * sum(counts.values())))
    for number in sorted(counts):
        wanted -= counts[number]
        if wanted <= 0:
            return seconds_of(number)
    raise ValueError("nothing is counted")

"""What a task is seen to go through."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["by_the_end"]


def by_the_end(states: Iterable[str]) -> list[str]:
    """The states that whoever watches a task of a prefork worker is sure to have seen by its end.

    RECEIVED is told by another process than the end, and comes after it where there is much to tell.
    """
    return [state for state in states if state != "RECEIVED"]

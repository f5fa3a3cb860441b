"""What is wrong with a filter, for the person who wrote it. Pure."""

from __future__ import annotations

import re
from typing import Final

from watcher.core.filters.values import BLANKS

__all__ = ["InvalidFilter", "shown"]

#: Most characters of a term that an error repeats.
_SHOWN: Final = 60
_BLANK: Final = re.compile(f"[{BLANKS}]+")


class InvalidFilter(ValueError):
    """A filter is not accepted. Its text names the term, what is wrong with it, and what is accepted.

    :param term: the wrong term as it was written, cut; empty if it is the whole filter.
    :param problem: what is wrong, and what is accepted.
    :param meant: the nearest right term, if there is one.
    """

    def __init__(self, term: str, problem: str, meant: str | None = None) -> None:
        named = f"'{term}': " if term else ""
        guess = f"; did you mean {meant}?" if meant else ""
        super().__init__(f"{named}{problem}{guess}")
        self.term = term
        self.problem = problem
        self.meant = meant


def shown(term: str) -> str:
    """A term as an error repeats it: in one line, cut."""
    line = _BLANK.sub(" ", term)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"

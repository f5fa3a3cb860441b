"""From the terms of a filter to the values that they mean, or to an error that says what was probably meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from watcher.core.filters.errors import InvalidFilter, shown
from watcher.core.filters.keys import ALIASES, KEYS
from watcher.core.filters.terms import Term, terms
from watcher.core.filters.values import (
    UNITS,
    Absolute,
    Ago,
    Bound,
    Clock,
    Glob,
    Kind,
    Local,
    Moment,
    State,
    Text,
    Value,
    duration_text,
    quoted,
)
from watcher.core.kinds import KINDS, WAITING_KINDS
from watcher.core.moments import Wall, iso
from watcher.core.order import RANKS
from watcher.core.suggestions import close_to, state_meant

__all__ = ["STATES", "value_of"]

#: Most stars in one value.
_MOST_STARS: Final = 10
#: Least similarity of a wrong key to the one that is suggested.
_KEYS_ALIKE: Final = 0.6
#: Longest term that is suggested, in characters.
_LONGEST_MEANT: Final = 200
#: The years that a moment may be in: so far numbers of JavaScript hold microseconds.
_YEARS: Final = range(1970, 2200)
_LATEST: Final = 7_258_118_400_000_000
#: Longest duration: a hundred years, in microseconds.
_LONGEST: Final = 36_500 * UNITS["d"]
#: What `state:` takes in any case.
STATES: Final = (*KINDS, *WAITING_KINDS, *RANKS)

_DURATION: Final = re.compile(r"(?:[0-9]{1,10}(?:\.[0-9]{1,9})?(?:ms|[smhdw]))+")
_PART: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?(ms|[smhdw])")
_NUMBER: Final = re.compile(r"[0-9]{1,8}(?:\.[0-9]{1,6})?")
_UNIX: Final = re.compile(r"([0-9]{9,10})(?:\.([0-9]{1,6}))?")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOUND: Final = re.compile(r"(>=|<=|>|<)(.*)", re.DOTALL)

_DURATIONS: Final = "ms, s, m, h, d or w"
_MOMENTS: Final = (
    f"2h (before now; {_DURATIONS}), a clock time like 03:10, a date like 2026-11-30, or 2026-11-30T03:10, "
    "with Z or an offset like +01:00 where it is of another zone"
)


def value_of(term: Term) -> Value:
    """What a term means.

    :raises InvalidFilter: it has no meaning; the error says what is accepted.
    """
    if not term.key:
        return _text(term)
    key = KEYS.get(term.key)
    if key is None:
        raise _no_such_key(term)
    if not term.value:
        raise InvalidFilter(shown(term.source), f"a value must follow, as in {term.instead(key.name, key.examples[0])}")
    return _READERS[key.values](term)


def _text(term: Term) -> Text:
    if not term.value:
        raise InvalidFilter(shown(term.source), 'words to look for must follow; a - alone is written "-"')
    return Text(term.value)


def _no_such_key(term: Term) -> InvalidFilter:
    key = term.key.lower()
    meant = key if key in KEYS else ALIASES.get(key) or close_to(key, tuple(KEYS), _KEYS_ALIKE)
    problem = f"there is no key {shown(term.key)}; keys are {', '.join(KEYS)}; text with a colon is written in quotes"
    return InvalidFilter(shown(term.source), problem, _right(term.instead(meant)) if meant else None)


def _glob(term: Term) -> Glob:
    parts = [""]
    for text, is_quoted in term.pieces:
        first, *others = [text] if is_quoted else text.split("*")
        parts[-1] += first
        parts += others
    if len(parts) > 1:
        parts = [parts[0], *filter(None, parts[1:-1]), parts[-1]]
    if len(parts) > _MOST_STARS + 1:
        raise InvalidFilter(shown(term.source), f"a value may have {_MOST_STARS} stars; in quotes, a star means itself")
    return Glob(tuple(parts))


def _state(term: Term) -> State | Kind:
    name = term.value
    if term.is_quoted:
        return State(name, exact=name not in RANKS)
    if name.isascii() and name.upper() in RANKS:
        return State(name.upper())
    if name.lower() in (*KINDS, *WAITING_KINDS):
        return Kind(name.lower())
    if "*" in name:
        raise InvalidFilter(shown(term.source), "a state is written whole, without a star")
    meant = state_meant(name) or _nearly(name)
    if meant:
        own = f"a custom state of that name is written {term.instead('state', quoted(name))}"
        problem = f"there is no state {shown(name)}; kinds are {', '.join((*KINDS, *WAITING_KINDS))}; {own}"
        raise InvalidFilter(shown(term.source), problem, term.instead("state", meant))
    return State(name)


def _nearly(name: str) -> str | None:
    return close_to(name.lower(), (*KINDS, *WAITING_KINDS)) or close_to(name.upper(), tuple(RANKS))


def _moment(term: Term) -> Moment:
    text = term.value
    if (found := _CLOCK.fullmatch(text)) and int(found[1]) < 24 and max(int(found[2]), int(found[3] or 0)) < 60:
        return Clock(int(found[1]), int(found[2]), int(found[3] or 0))
    if _DURATION.fullmatch(text):
        return Ago(_duration(term, text))
    day = _DATE.fullmatch(text) is not None
    read = iso(f"{text}T00:00") if day else iso(text)
    if found := _UNIX.fullmatch(text):
        read = int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))
    if isinstance(read, Wall) and read.year in _YEARS:
        return Local(read, day)
    if isinstance(read, int) and 0 <= read < _LATEST:
        return Absolute(read)
    meant = _right(term.instead(term.key, f"{text}h")) if _NUMBER.fullmatch(text) else None
    raise InvalidFilter(shown(term.source), f"{shown(text)} is no moment; accepted are {_MOMENTS}", meant)


def _bound(term: Term) -> Bound:
    found = _BOUND.fullmatch(term.value)
    operator, text = (found[1], found[2]) if found else (">", term.value)
    if found and _DURATION.fullmatch(text):
        return Bound(operator, _duration(term, text))
    unit = "s" if _NUMBER.fullmatch(text) else ""
    meant = _right(term.instead(term.key, f"{operator}{text}{unit}")) if _DURATION.fullmatch(text + unit) else None
    accepted = f"accepted are >, >=, < or <= before a duration ({_DURATIONS}), as in {term.key}:>5s"
    raise InvalidFilter(shown(term.source), f"{shown(term.value)} is no bound of a duration; {accepted}", meant)


def _duration(term: Term, text: str) -> int:
    """A duration in microseconds."""
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        sub, rest = divmod(int(fraction or 0) * UNITS[unit], 10 ** len(fraction))
        if rest:
            raise InvalidFilter(shown(term.source), "a duration is a whole number of microseconds")
        total += int(whole) * UNITS[unit] + sub
    if total > _LONGEST:
        raise InvalidFilter(shown(term.source), f"a duration is at most {duration_text(_LONGEST)}")
    return total


def _right(text: str) -> str | None:
    """A term that may have been meant, if it is right; else what may have been meant by that."""
    if len(text) > _LONGEST_MEANT:
        return None
    try:
        value_of(terms(text)[0])
    except InvalidFilter as error:
        return error.meant
    return text


_READERS: Final[dict[str, Callable[[Term], Value]]] = {
    "state": _state, "glob": _glob, "moment": _moment, "bound": _bound,
}  # fmt: skip

"""Globs as :mod:`fnmatch` has them, as conditions in SQL. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, or_

__all__ = ["ANY", "Glob", "Piece", "any_of", "behind", "parse"]

#: In LIKE and in regular expressions, what stands before a character that is only that.
_ESCAPE: Final = "\\"


class Piece(NamedTuple):
    """What one character is matched by: itself (``text``), any (``?``), one of a set, or any number of any (``*``).

    :param ranges: of a ``set``, the first and the last character of each, ascending and apart from each other.
    """

    kind: str
    text: str = ""
    ranges: tuple[tuple[str, str], ...] = ()

    @property
    def matches_nothing(self) -> bool:
        """Whether it is an empty set, or half a character, which no text of an event has."""
        return self == ("set", "", ()) or (self.kind == "text" and "\ud800" <= self.text <= "\udfff")

    def takes(self, char: str) -> bool:
        """Whether one character matches."""
        if self.kind == "set":
            return any(first <= char <= last for first, last in self.ranges)
        return self.kind != "text" or char == self.text


#: The last character there is, and those that are halves of one, which no database holds.
_LAST: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)

Glob: TypeAlias = tuple[Piece, ...]
ANY: Final = Piece("*")
_ONE: Final = Piece("?")


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Glob:
    """The pieces of a glob."""
    pieces: list[Piece] = []
    place = 0
    while place < len(text):
        char = text[place]
        place += 1
        if char == "*":
            if not pieces or pieces[-1] != ANY:
                pieces.append(ANY)
        elif char == "?":
            pieces.append(_ONE)
        elif char == "[" and (end := _end_of_set(text, place)) > 0:
            pieces.append(_set(text[place:end]))
            place = end + 1
        else:
            pieces.append(Piece("text", char))
    return tuple(pieces)


def behind(glob: Glob, text: str) -> set[Glob]:
    """What has to match the rest of a string that begins with ``text``: any of these."""
    places, done = {0}, set[int]()
    for char in text:
        places = {after for place in places for after in _after(glob, place, char)}
    for place in places:
        done.add(place)
    return {glob[place:] for place in done}


def any_of(column: ColumnElement[Any], globs: Iterable[Glob], *, for_sqlite: bool) -> ColumnElement[bool] | None:
    """The condition that a column matches any of the globs; None where there are none."""
    exact: list[str] = []
    conditions: list[ColumnElement[bool]] = []
    for glob in globs:
        if any(piece.matches_nothing for piece in glob):
            continue
        if all(piece.kind == "text" for piece in glob):
            exact.append("".join(piece.text for piece in glob))
        elif for_sqlite:
            conditions.append(column.op("GLOB", is_comparison=True)("".join(map(_for_sqlite, glob))))
        elif any(piece.kind == "set" for piece in glob):
            conditions.append(column.op("~", is_comparison=True)("^" + "".join(map(_as_regex, glob)) + "$"))
        else:
            conditions.append(column.like("".join(map(_for_like, glob)), escape=_ESCAPE))
    if exact:
        conditions.append(column.in_(sorted(set(exact))))
    return or_(*conditions) if conditions else None


def _end_of_set(text: str, place: int) -> int:
    """Where the set that begins at ``place`` has its ``]``; -1 where it has none."""
    start = place + 1 if text[place : place + 1] == "!" else place
    return text.find("]", start + 1 if text[start : start + 1] == "]" else start)


def _set(inside: str) -> Piece:
    """What stands between brackets: characters and ranges, as :func:`fnmatch.translate` takes them apart."""
    negated = inside.startswith("!")
    parts = _split(inside[negated:])
    points: list[tuple[int, int]] = []
    for number, part in enumerate(parts):
        alone = part[number > 0 : len(part) - (number < len(parts) - 1)]
        points += [(ord(char), ord(char)) for char in alone]
    points += [(ord(before[-1]), ord(after[0])) for before, after in pairwise(parts)]
    ranges = _without(*_SURROGATES, _complement(points) if negated else _merged(points))
    if ranges == _merged(_without(*_SURROGATES, [(0, _LAST)])):
        return _ONE
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return Piece("text", chr(ranges[0][0]))
    return Piece("set", ranges=tuple((chr(first), chr(last)) for first, last in ranges))


def _split(inside: str) -> list[str]:
    """The characters of a set, cut where a ``-`` makes a range; what goes down is left out."""
    parts: list[str] = []
    start, place = 0, 1
    while (place := inside.find("-", place)) >= 0:
        parts.append(inside[start:place])
        start, place = place + 1, place + 3
    if inside[start:] or not parts:
        parts.append(inside[start:])
    else:
        parts[-1] += "-"
    for number in range(len(parts) - 1, 0, -1):
        if parts[number - 1][-1] > parts[number][0]:
            parts[number - 1] = parts[number - 1][:-1] + parts.pop(number)[1:]
    return parts


def _merged(points: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(points):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _complement(points: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    bounds = [-1, *(bound for pair in _merged(points) for bound in pair), _LAST + 1]
    return [(last + 1, first - 1) for last, first in zip(bounds[::2], bounds[1::2], strict=True) if last + 1 < first]


def _without(low: int, high: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges without the characters from ``low`` to ``high``."""
    parts = ((part, bounds) for bounds in ranges for part in ((bounds[0], low - 1), (high + 1, bounds[1])))
    cut = ((max(part[0], bounds[0]), min(part[1], bounds[1])) for part, bounds in parts)
    return [(first, last) for first, last in cut if first <= last]


def _after(glob: Glob, place: int, char: str) -> Iterator[int]:
    while place < len(glob) and glob[place] == ANY:
        yield place
        place += 1
    if place < len(glob) and glob[place].takes(char):
        yield place + 1


def _for_sqlite(piece: Piece) -> str:
    """As GLOB has it: in a set ``]`` stands first, ``-`` first or behind that, and ``^`` last."""
    if piece.kind == "text":
        return f"[{piece.text}]" if piece.text in "*?[" else piece.text
    if piece.kind != "set":
        return piece.kind
    ranges = [(max(ord(first), 1), ord(last)) for first, last in piece.ranges if last != "\0"]
    special = ""
    for char in "]-^":
        if piece.takes(char):
            special += char
            ranges = _without(ord(char), ord(char), ranges)
    first, last = special.removesuffix("^"), special[len(special.removesuffix("^")) :]
    return f"[{first}{''.join(f'{chr(low)}-{chr(high)}' for low, high in ranges)}{last}]"


def _for_like(piece: Piece) -> str:
    if piece.kind == "text":
        return _ESCAPE + piece.text if piece.text in "%_\\" else piece.text
    return {"*": "%", "?": "_"}[piece.kind]


def _as_regex(piece: Piece) -> str:
    if piece.kind == "text":
        return piece.text if piece.text.isalnum() else _code(piece.text)
    if piece.kind == "set":
        return f"[{''.join(f'{_code(first)}-{_code(last)}' for first, last in piece.ranges)}]"
    return {"*": "(.|\n)*", "?": "(.|\n)"}[piece.kind]


def _code(char: str) -> str:
    return f"\\U{max(ord(char), 1):08X}"  # no text in a database has a character 0

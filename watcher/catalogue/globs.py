"""Globs as :mod:`fnmatch` has them, as conditions in SQL. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, or_

__all__ = ["ANY", "Glob", "Piece", "any_of", "behind", "parse"]

#: In LIKE and in regular expressions, what stands before a character that is only that.
_ESCAPE: Final = "\\"


class Piece(NamedTuple):
    """What one character is matched by: itself (``text``), any (``?``), one of a set, or any number of any (``*``)."""

    kind: str
    text: str = ""


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
            inside = text[place:end]
            pieces.append(Piece("text", inside) if len(inside) == 1 else Piece("set", inside))
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


def _after(glob: Glob, place: int, char: str) -> Iterator[int]:
    while place < len(glob) and glob[place] == ANY:
        yield place
        place += 1
    if place < len(glob) and re.fullmatch(_as_regex(glob[place]), char, re.DOTALL):
        yield place + 1


def _for_sqlite(piece: Piece) -> str:
    if piece.kind == "set":
        return f"[^{piece.text[1:]}]" if piece.text.startswith("!") else f"[{piece.text}]"
    if piece.kind == "text":
        return f"[{piece.text}]" if piece.text in "*?[" else piece.text
    return piece.kind


def _for_like(piece: Piece) -> str:
    if piece.kind == "text":
        return _ESCAPE + piece.text if piece.text in "%_\\" else piece.text
    return {"*": "%", "?": "_"}[piece.kind]


def _as_regex(piece: Piece) -> str:
    if piece.kind == "text":
        return (
            piece.text
            if piece.text.isalnum()
            else "[" + piece.text + "]"
            if piece.text not in "^\\[]"
            else "\\" + piece.text
        )
    if piece.kind == "set":
        inside = piece.text.removeprefix("!")
        inside = inside.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("^", "\\^")
        return f"[^{inside}]" if piece.text.startswith("!") else f"[{inside}]"
    return {"*": "(.|\n)*", "?": "(.|\n)"}[piece.kind]

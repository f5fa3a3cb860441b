"""Text in the columns of a terminal: how wide it is, cut to so many columns, and laid out as a table. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Column", "Table", "cut", "cut_start", "width"]

#: A colour (SGR), which takes no column.
_COLOR: Final = re.compile(r"(\x1b\[\d*m)")
_GAP: Final = "  "
#: What stands where there is nothing to say, so that each line has as many fields.
_NOTHING: Final = "-"


def width(text: str) -> int:
    """How many columns a terminal takes for it: two for a wide character, none for an accent or a colour."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return sum(map(_width_of, _COLOR.sub("", text)))


def _width_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(line: str, columns: int) -> str:
    """``line``, shortened at its end where it takes more columns than these."""
    if width(line) <= columns:
        return line
    kept, room = [], max(columns, 1) - 1
    for number, part in enumerate(_COLOR.split(line)):
        if number % 2:
            kept.append(part)
            continue
        for character in part:
            room -= _width_of(character)
            if room < 0:
                return "".join(kept) + "…" + ("\x1b[0m" if "\x1b" in line else "")
            kept.append(character)
    raise AssertionError("a line that is too wide has a character that does not fit")


def cut_start(text: str, columns: int) -> str:
    """The same at its beginning, for what is known by its end; it has no colours. Nothing where there is no room."""
    if width(text) <= columns:
        return text
    return cut(text[::-1], columns)[::-1] if columns > 1 else ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    :param least: the narrowest that it may be cut to where the terminal is too narrow; None: it is never cut.
    :param leaves: the order in which columns are cut, and left out where that is not enough; None: the last to be cut,
        and never left out.
    :param by_end: it loses its beginning, not its end.
    :param right: it is aligned to the right.
    :param paint: gives a cell its colours, by its text and by the text with the blanks beside it.
    """

    title: str
    least: int | None = None
    leaves: int | None = None
    by_end: bool = False
    right: bool = False
    paint: Callable[[str, str], str] | None = None


class Table:
    """Rows under their titles, a page of them at a time: the first page says which columns there are.

    :param room: columns of the terminal; None where nobody looks: then nothing is cut or left out.
    """

    def __init__(self, columns: Sequence[Column], room: int | None = None) -> None:
        self._columns = columns
        self._room = room
        self._widths: dict[int, int] = {}
        self._begun = False

    def lines(self, rows: Sequence[Sequence[str]]) -> Iterator[str]:
        """The lines of the next rows; before the first ones, the titles."""
        rows = [[cell or _NOTHING for cell in row] for row in rows]
        if not self._begun:
            rows.insert(0, [column.title for column in self._columns])
            self._widths = {number: 0 for number, _ in enumerate(self._columns)}
        self._lay_out(rows)
        for row in rows:
            yield self._line(row, title=not self._begun)
            self._begun = True

    def _lay_out(self, rows: Sequence[Sequence[str]]) -> None:
        natural = {
            number: max(kept, *(width(row[number]) for row in rows)) if rows else kept
            for number, kept in self._widths.items()
        }
        if self._room is not None:
            while not self._fit(natural) and not self._begun and (leaving := self._first_to_leave(natural)) is not None:
                del natural[leaving]
        self._widths = self._shrunk(natural)

    def _fit(self, widths: dict[int, int]) -> bool:
        return self._excess(self._shrunk(widths)) <= 0

    def _excess(self, widths: dict[int, int]) -> int:
        return 0 if self._room is None else sum(widths.values()) + len(_GAP) * (len(widths) - 1) - self._room

    def _shrunk(self, widths: dict[int, int]) -> dict[int, int]:
        """These widths, cut as far as there is too little room: first of the columns that would be left out first."""
        widths = dict(widths)
        for number in sorted(widths, key=self._order):
            least = self._columns[number].least
            if least is not None and (excess := self._excess(widths)) > 0:
                least = min(max(least, width(self._columns[number].title)), widths[number])
                widths[number] = max(least, widths[number] - excess)
        return widths

    def _order(self, number: int) -> float:
        leaves = self._columns[number].leaves
        return math.inf if leaves is None else leaves

    def _first_to_leave(self, widths: dict[int, int]) -> int | None:
        first = min(widths, key=self._order)
        return None if self._columns[first].leaves is None else first

    def _line(self, row: Sequence[str], *, title: bool) -> str:
        return _GAP.join(self._cell(number, row[number], title=title) for number in self._widths).rstrip()

    def _cell(self, number: int, text: str, *, title: bool) -> str:
        column, columns = self._columns[number], self._widths[number]
        if self._room is not None and column.least is not None:
            text = cut_start(text, columns) if column.by_end else cut(text, columns)
        blanks = " " * (columns - width(text))
        padded = blanks + text if column.right else text + blanks
        return padded if title or column.paint is None else column.paint(text, padded)

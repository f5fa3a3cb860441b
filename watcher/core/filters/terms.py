r"""From the text of a filter to its terms, as they are written: blanks, quotes, stars, the sign and the key. Pure.

A term ends at the next blank that is not in double quotes. Quotes may begin anywhere in it, and what stands in them
means itself: blanks, stars, colons. In quotes ``\"`` is a quote and ``\\`` a backslash; elsewhere a backslash is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from watcher.core.filters.errors import InvalidFilter, shown
from watcher.core.filters.values import BLANKS, KEYED

__all__ = ["LONGEST", "MOST_TERMS", "Piece", "Term", "terms"]

#: Longest filter, in characters (code points), and most terms in it.
LONGEST: Final = 4096
MOST_TERMS: Final = 100

_PIECE: Final = re.compile(
    rf'(?P<blank>[{BLANKS}]+)|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^{BLANKS}"]+)|(?P<open>")', re.DOTALL
)
_NO_END: Final = r'the quote " has no end; in quotes, a quote is written \" and a backslash \\'
_ESCAPED: Final = re.compile(r'\\(["\\])')
#: Characters that no filter has: databases can't compare some of them, and none of them can be seen.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


class Piece(NamedTuple):
    """A part of a term, and whether it was in quotes."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Term:
    """One term.

    :param source: as it was written.
    :param key: empty if it is free text.
    :param pieces: its value.
    """

    source: str
    negated: bool
    key: str
    pieces: tuple[Piece, ...]

    @property
    def value(self) -> str:
        """The value without quotes."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def is_quoted(self) -> bool:
        """Whether some of the value was in quotes."""
        return any(piece.quoted for piece in self.pieces)

    def instead(self, key: str, value: str | None = None) -> str:
        """The term with another key, or another value: what may have been meant."""
        before = "-" if self.negated else ""
        written = self.source[len(before) + len(self.key) + 1 :] if value is None else value
        return f"{before}{key}:{written}"


def terms(text: str) -> list[Term]:
    """Split a filter into its terms.

    :raises InvalidFilter: it is too long or has too many terms, a character that no filter has, or a quote without its
        end.
    """
    if len(text) > LONGEST:
        raise InvalidFilter("", f"a filter has at most {LONGEST:,} characters, this one has {len(text):,}")
    if found := _CONTROL.search(text):
        raise InvalidFilter("", f"a filter must not hold the character U+{ord(found[0]):04X}")
    split = list(_split(text))
    if len(split) > MOST_TERMS:
        raise InvalidFilter("", f"a filter has at most {MOST_TERMS} terms, this one has {len(split)}")
    return [_term(source, pieces) for source, pieces in split]


def _split(text: str) -> Iterator[tuple[str, list[Piece]]]:
    """The source and the pieces of each term."""
    pieces: list[Piece] = []
    begun = 0
    for found in _PIECE.finditer(text):
        if found["blank"] is None:
            if not pieces:
                begun = found.start()
            if found["open"] is not None:
                raise InvalidFilter(shown(text[begun:]), _NO_END)
            pieces.append(_piece(found))
        elif pieces:
            yield text[begun : found.start()], pieces
            pieces = []
    if pieces:
        yield text[begun:], pieces


def _piece(found: re.Match[str]) -> Piece:
    if found["quoted"] is not None:
        return Piece(_ESCAPED.sub(r"\1", found["quoted"]), quoted=True)
    return Piece(found["bare"], quoted=False)


def _term(source: str, pieces: list[Piece]) -> Term:
    negated = not pieces[0].quoted and pieces[0].text.startswith("-")
    if negated:
        pieces = [Piece(pieces[0].text[1:], quoted=False), *pieces[1:]]
    keyed = None if pieces[0].quoted else KEYED.match(pieces[0].text)
    if keyed:
        pieces = [Piece(pieces[0].text[keyed.end() :], quoted=False), *pieces[1:]]
    return Term(source, negated, keyed[1] if keyed else "", tuple(piece for piece in pieces if piece.text))

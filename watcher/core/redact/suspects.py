"""One search that says whether a text may hold something to mask; every event pays for it. Pure.

Most texts hold no secret, and are searched to their end. So the search starts at few characters: a term is looked for
from its rarest letter on, and what comes before that is looked back for. The text is in lower case: a search that
ignores case takes ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import Final, NamedTuple

from watcher.core.redact.names import ANYWHERE, CARRIERS, ENDING, LAST

__all__ = ["searches", "user_names"]

#: Letters, the rarest in names and English texts first.
_RAREST: Final = "qzjxkvbwpgyfumchdlnrotasie"
_SEPARATORS: Final = "[-_. ]"
#: More terms than these with the same end are looked back for only where it makes sense.
_MANY: Final = 4


def _after(separator: str, *prefixes: str) -> str:
    """A pattern of what comes after one of these."""
    return f"{separator}(?:{'|'.join(f'(?<={prefix})' for prefix in prefixes)})"


#: Of shapes, by the character that each is looked for from. Those of vendors' keys are a run of ten characters or more.
_SHAPES: Final = (
    r"://[^\s'\"<>\\@:]*+(?::(?!//)[^\s'\"<>\\@:]*+)*+@", r"bearer ", r"basic [a-z0-9+/_-]{8}", r"j(?<=eyj)[\w-]{5}",
    r"key(?: block)?-----", r"\?[\w;-]*sig(?:nature)?=", r"&[\w;-]*sig(?:nature)?=",
    r"26[\w-]{0,30}sig(?:nature)?=",
    _after(r"-(?=[\w.-]{10})", r"\bsk-", "xox[a-z]-", "xapp-", r"\bpypi-", "gl[a-z]{2}-", "gl[a-z]{3}-", "gl[a-z]{4}-",
           "glagent-"),
    _after(r"_(?=\w{10})", "gh[pousr]_", "github_pat_", "glsa_", r"\bhf_", "npm_", "shp[a-z]{2}_", "[rs]k_live_",
           "[rs]k_test_", "whsec_", "do[opr]_v1_", "dckr_[op]at_"),
    r"kia[a-z0-9]{16}", r"sia[a-z0-9]{16}", r"za[\w-]{35}", r"pi[0-9a-f]{32}", r"k[0-9a-f]{32}",
    r"g\.[\w-]{16,}\.[\w-]{16}", r"v[sbr]\.[\w-]{24}", r"xe\.xox",
    r"k\.com/(?:services|workflows|triggers)/",
)  # fmt: skip


class _Term(NamedTuple):
    """How the search finds a term.

    :ivar letter: from which one on.
    :ivar rest: what comes after that, in letters.
    :ivar back: a pattern of the whole term, to be looked back for; empty where nothing comes before the letter.
    :ivar after: a pattern of what may come after the term.
    """

    letter: str
    rest: str
    back: str
    after: str


def _variants(term: str) -> Iterator[tuple[str, ...]]:
    """A term with its words joined, and with something between them: each a letter or a pattern of one character."""
    words = term.split(" ")
    for between in product(((), (_SEPARATORS,)), repeat=len(words) - 1):
        yield sum((((*gap, *word) for gap, word in zip(((), *between), words, strict=True))), ())


def _terms() -> Iterator[_Term]:
    # Of a name that only ends with a term there may be one more word.
    last = rf"(?:s?(?![a-z])|[-_. ]?(?:{'|'.join(CARRIERS)}))"
    wanted = [*((term, "") for term in (*ANYWHERE, *ENDING)), *((term, last) for term in LAST)]
    for term, after in wanted:
        if any(other != term and term.endswith(other) and after == rest for other, rest in wanted):
            continue  # it is found with the other
        for parts in _variants(term):
            rarity = [_RAREST.find(part) if len(part) == 1 else len(_RAREST) for part in parts]
            start = rarity.index(min(rarity))
            yield _Term(parts[start], "".join(parts[start + 1 :]), "".join(parts) if start else "", after)


def _of_names() -> Iterator[tuple[str, str]]:
    """By letter, what comes after it: what many terms end with, such as ``key``, is looked for once."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for letter, rest, back, after in _terms():
        groups.setdefault((letter, rest, after), []).append(back)
    for (letter, rest, after), backs in groups.items():
        if "" in backs:
            yield letter, rest + after
            continue
        # A word is before it, joined or not: that is asked first, for mostly there is none.
        guard = rf"(?:(?<=[a-z]{letter}{rest})|(?<=[a-z]{_SEPARATORS}{letter}{rest}))" if len(backs) > _MANY else ""
        yield letter, f"{rest}{guard}(?:{'|'.join(f'(?<={back})' for back in backs)}){after}"


def user_names(names: Iterable[str]) -> str:
    """Names as users give them: anywhere in a key, their words joined or not, in lower case."""
    return "|".join(
        r"[-_.\ ]?".join(map(re.escape, re.split(r"[-_. ]+", name.lower().strip("-_. ")))) for name in names
    )


@cache
def searches(*, names: bool) -> tuple[re.Pattern[str], re.Pattern[bytes]]:
    """The search in text of lower case, and in such text as UTF-8; made once, since that takes its time.

    :param names: whether names that look secret are looked for, and not only shapes.
    """
    by_letter: dict[str, list[str]] = {}
    for letter, rest in _of_names() if names else ():
        by_letter.setdefault(letter, []).append(rest)
    for shape in _SHAPES:
        letter = shape[:2] if shape[0] == "\\" else shape[0]
        by_letter.setdefault(letter, []).append(shape[len(letter) :])
    # The alternatives are tried in their order, so what is met most often comes first.
    letters = sorted(by_letter, key=_RAREST.find, reverse=True)
    branches = [f"{letter}(?:{'|'.join(sorted(set(by_letter[letter])))})" for letter in letters]
    pattern = "|".join(branches)
    return re.compile(pattern), re.compile(pattern.encode())

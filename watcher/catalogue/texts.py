"""Texts as any database takes them, each as another one: what was different stays so, and is read back as it was.

PostgreSQL has no NUL, and no UTF-8 has a surrogate by itself. What stands for them are code points that Unicode keeps
free for use inside of programs (U+FDD0 to U+FDEF); these themselves are written in a longer form. NUL is one character
there, too, so that globs match it as any other.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

__all__ = ["StoredText", "readable", "storable"]

_NUL: Final = "\ufdd0"
#: Before four hexadecimal digits of what can't be written, the digits from U+FDE0 on.
_LEAD: Final = "\ufdd1"
_ZERO: Final = 0xFDE0
_ODD: Final = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")
_WRITTEN: Final = re.compile(f"{_NUL}|{_LEAD}([\ufde0-\ufdef]{{4}})")


def storable(text: str) -> str:
    """The text that stands for another one in the database."""
    # Most have nothing odd: ASCII is known by a flag of the string.
    if (text.isascii() and "\0" not in text) or _ODD.search(text) is None:
        return text
    return _ODD.sub(_write, text)


def readable(text: str) -> str:
    """The text that another one stands for in the database."""
    return text if text.isascii() else _WRITTEN.sub(_read, text)


def _write(found: re.Match[str]) -> str:
    if found[0] == "\0":
        return _NUL
    return _LEAD + "".join(chr(_ZERO + int(digit, 16)) for digit in f"{ord(found[0]):04x}")


def _read(found: re.Match[str]) -> str:
    if found[1] is None:
        return "\0"
    return chr(int("".join(f"{ord(char) - _ZERO:x}" for char in found[1]), 16))


class StoredText(TypeDecorator[str]):
    """A column of texts; who writes past SQLAlchemy's types uses :func:`storable` himself."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """To the database."""
        return storable(value) if isinstance(value, str) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """From the database."""
        return readable(value) if isinstance(value, str) else value

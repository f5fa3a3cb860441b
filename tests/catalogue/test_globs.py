"""Globs in SQL match what `fnmatch` does: a token's holder sees no more, and no less, in a list than by a task's id."""

from __future__ import annotations

from fnmatch import fnmatchcase
from random import Random
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, Text, create_engine, insert, select

from watcher.catalogue.database import url_of
from watcher.catalogue.globs import Glob, any_of, behind, parse

#: Characters that mean something in a glob, in GLOB, in LIKE or in a regular expression, and a few that mean nothing.
_CHARS = "abcmz]^-![*?\\.$%_|&~é\U0001f600"
_ODD = (
    "[p-m]*", "[!p-m]*", "[^a]*", "[]-a]*", "[]]", "[!]]", "[a-]", "[-a]", "[!-a]", "[a-c-e]", "[z-a]", "[!z-a]", "[",
    "[]", "[!]", "[a", "[--z]", "[+--]", "[Z-]]", "[^^]", "[!^]", "[^-a]", "[]^-]", "[\\]", "[a\\]", "%", "_", "\\",
    "[[-]]", "a\ud800*", "[\ud800]", "[a\ud800]", "[\ud7ff-\ue000]", "[a-cb-z]", "[c-bd-a]",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_a_glob_matches_what_fnmatch_matches(url: str, seed: int) -> None:
    random = Random(seed)

    def text(most: int) -> str:
        return "".join(random.choices(_CHARS, k=random.randint(0, most)))

    names = sorted({text(3) for _ in range(600)} | {*_CHARS, *(glob for glob in _ODD if glob.isprintable())})
    globs = [*_ODD, *(text(2) + "[" + text(5) + "]" + text(2) for _ in range(300)), *(text(5) for _ in range(100))]
    engine = create_engine(url_of(url))
    kind = Text(collation="C") if engine.dialect.name == "postgresql" else Text()
    table = Table("names", MetaData(), Column("name", kind))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"name": name} for name in names])
        for glob in globs:
            condition = any_of(table.c.name, [parse(glob)], for_sqlite=engine.dialect.name == "sqlite")
            rows: Any = [] if condition is None else connection.execute(select(table.c.name).where(condition))
            assert sorted(name for (name,) in rows) == [name for name in names if fnmatchcase(name, glob)], glob
    engine.dispose()


def test_what_is_behind_a_prefix_matches_what_fnmatch_matches() -> None:
    random = Random(3)
    for _ in range(3000):
        glob = "".join(random.choices("name:[]!^-tag*?", k=random.randint(1, 9)))
        rest = "".join(random.choices("aem:-", k=random.randint(0, 2)))
        found = any(_matches(pieces, rest) for pieces in behind(parse(glob), "name:"))
        assert found == fnmatchcase(f"name:{rest}", glob), glob


def _matches(pieces: Glob, text: str) -> bool:
    return () in behind(pieces, text) or any(all(piece.kind == "*" for piece in left) for left in behind(pieces, text))

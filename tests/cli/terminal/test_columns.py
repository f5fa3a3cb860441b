"""Text in the columns of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.cli.terminal.columns import Column, Table, cut, cut_start, width

WIDE = "写真"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("abc", 3),
        (WIDE, 4),
        ("e\u0301", 1),
        ("\x1b[31mred\x1b[0m", 3),
        (f"\x1b[31m{WIDE}\x1b[0m", 4),
        ("…", 1),
    ],
)
def test_width_is_what_a_terminal_takes(text: str, columns: int) -> None:
    assert width(text) == columns


def test_a_cut_says_so_and_keeps_colours_closed() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 4) == "abc…"
    assert cut(WIDE, 3) == "写…"
    assert cut("\x1b[31mabcdef\x1b[0m", 4) == "\x1b[31mabc…\x1b[0m"
    assert cut_start("mail.send", 5) == "…send"
    assert (cut_start("mail", 1), cut_start("mail", 0)) == ("", "")


@given(st.text(st.characters(exclude_categories=["C", "M"])), st.integers(2, 12))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    for made in (cut(text, columns), cut_start(text, columns)):
        assert width(made) <= columns
        assert made == text or "…" in made


COLUMNS = (
    Column("AGE", right=True),
    Column("NAME", least=6, by_end=True),
    Column("WORKER", least=4, leaves=1),
    Column("ERROR", least=5, leaves=2),
)
ROWS = [["5s", "mail.send", "celery@web1", ""], ["12m", WIDE, "", "ValueError: no such address"]]


def test_a_table_is_aligned_and_each_line_has_all_fields() -> None:
    assert list(Table(COLUMNS).lines(ROWS)) == [
        "AGE  NAME       WORKER       ERROR",
        " 5s  mail.send  celery@web1  -",
        f"12m  {WIDE}       -            ValueError: no such address",
    ]


def test_titles_stand_once_and_later_pages_below_them() -> None:
    table = Table(COLUMNS)
    first = list(table.lines(ROWS[:1]))
    assert list(table.lines([["1s", "a", "b", "c"]])) == [" 1s  a          b            c"]
    assert [line[:3] for line in first] == ["AGE", " 5s"]
    assert list(table.lines([])) == []


@pytest.mark.parametrize(
    ("room", "titles"),
    [(60, "AGE NAME WORKER ERROR"), (40, "AGE NAME WORKER ERROR"), (20, "AGE NAME ERROR"), (12, "AGE NAME")],
)
def test_a_table_is_no_wider_than_the_terminal(room: int, titles: str) -> None:
    """What is least needed is cut first, and then left out."""
    lines = list(Table(COLUMNS, room).lines(ROWS))
    assert lines[0].split() == titles.split()
    assert max(map(width, lines)) <= room


def test_a_table_is_wider_where_nothing_may_go() -> None:
    assert max(map(width, Table(COLUMNS, 3).lines(ROWS))) == 11


def test_colours_take_no_columns() -> None:
    columns = (
        Column("STATE", paint=lambda text, padded: f"\x1b[32m{padded}\x1b[0m" if text == "A" else padded),
        Column("ID"),
    )
    assert list(Table(columns).lines([["A", "1"]])) == ["STATE  ID", "\x1b[32mA    \x1b[0m  1"]

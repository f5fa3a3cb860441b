"""docs/filters.md says of the filter language what is so: its keys, its examples, its errors."""

from __future__ import annotations

import re

import pytest

from tests.documents.shown import blocks
from tests.support.events import event
from tests.support.filter_keys import BEGIN, END, table
from tests.support.processes import ROOT
from watcher.core.event import fold
from watcher.core.filters import KEYS, InvalidFilter, parse
from watcher.core.kinds import KINDS, WAITING_KINDS

NAME = "docs/filters.md"
TEXT = (ROOT / NAME).read_text(encoding="utf-8")
_INLINE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
#: What is shown as a mistake.
_WRONG = {"foo:bar"}


def test_the_table_of_keys_is_the_languages_own() -> None:
    before, found, after = TEXT.partition(BEGIN)
    told, ended, _ = after.partition(END)
    assert (bool(before), bool(found), bool(ended)) == (True, True, True)
    assert told.strip() == table(), "python -m tests.support.filter_keys prints what belongs there"
    for key in KEYS.values():
        for example in key.examples:
            parse(f"{key.name}:{example}")


def test_every_filter_that_is_shown_is_right() -> None:
    keys = "|".join(KEYS)
    shown = [text for text in re.findall(r"`([^`]+)`", _INLINE) if re.match(rf'-?"|(.* )?-?({keys}):.', text)]
    assert len(shown) > 40
    for text in shown:
        parse(text)
    for text in re.findall(r"^\| `([^`]+)`", TEXT.partition("## Examples")[2], re.MULTILINE):
        assert parse(text, now=1_796_000_000.0).groups


def test_every_moment_that_is_shown_is_one() -> None:
    rows = re.findall(r"^\| (`.+`) \|", TEXT.partition("| a moment | is |")[2].partition("\n\n")[0], re.MULTILINE)
    moments = [moment for row in rows for moment in re.findall(r"`([^…`]*\d[^…`]*)`", row)]
    assert len(moments) >= 10
    for moment in moments:
        parse(f"since:{moment}")


def test_all_kinds_are_told() -> None:
    told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", TEXT.partition("| kind |")[2], re.MULTILINE)))
    assert set(told) >= {*KINDS, *WAITING_KINDS}


def test_what_is_shown_of_a_filter_and_of_a_mistake() -> None:
    right, wrong, error = (block.text.strip() for block in blocks(NAME))
    task = fold(None, event("a", "FAILURE", 1000.0, name="mail.send"), 1)
    assert [parse(right).matches(task, now) for now in (1000 + 7200, 1000 + 7201)] == [True, False]
    with pytest.raises(InvalidFilter) as caught:
        parse(wrong)
    assert str(caught.value) == error
    for text in _WRONG:
        assert f"`{text}`" in TEXT
        with pytest.raises(InvalidFilter):
            parse(text)

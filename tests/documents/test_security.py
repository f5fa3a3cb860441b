"""docs/security.md says what is masked as the rules have it."""

from __future__ import annotations

from tests.support.processes import ROOT
from tests.support.redaction import BEGIN, END, table


def test_the_table_of_what_is_masked_is_what_the_rules_say() -> None:
    document = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    before, found, after = document.partition(BEGIN)
    told, ended, _ = after.partition(END)
    assert (bool(before), bool(found), bool(ended)) == (True, True, True)
    assert told.strip() == table(), "python -m tests.support.redaction prints what belongs there"

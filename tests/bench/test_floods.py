"""Each flood says what it is to say, and grants next to nothing."""

from __future__ import annotations

import json

import pytest

from bench.events import message
from bench.flooded import deep, percentile, token_of
from bench.floods import DEEP, KINDS, Flood
from bench.studies import STUDIES


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_study_and_says_something(kind: str) -> None:
    assert STUDIES[f"flood-{kind}"].variants[0] == "1 address"
    said = Flood(KINDS[kind], 1, token_of(kind))._next()
    assert len(said) > 40
    assert said.startswith((b"GET /", b"POST /api/tasks HTTP/1.1", b"\x81"))
    assert not {"*"} & {glob for globs in KINDS[kind].grants.values() if isinstance(globs, list) for glob in globs}


def test_percentile_is_in_ms_and_infinite_without_samples() -> None:
    assert percentile([0.001 * each for each in range(1, 101)], 50) == pytest.approx(51)
    assert percentile([], 99) == float("inf")


def test_one_task_tells_very_much() -> None:
    told = deep(message(0, 1, unicast=False))
    line = json.loads(told.line)
    assert (told.id, line["id"], line["root_id"], line["state"]) == (DEEP, DEEP, DEEP, "PROGRESS")

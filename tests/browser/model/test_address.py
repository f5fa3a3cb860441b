"""address.js and saved.js: what of the page stands in its address, and the filters that a browser keeps."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.browser.model.node import run

_PLACES = """
  const { addressOf, placeOf, HOME } = await use("model/address.js");
  return argument.map((each) => typeof each === "string" ? placeOf(each) : addressOf({ ...HOME, ...each }));
"""
_HOME = {"view": "tasks", "task": "", "kind": "all", "filter": "", "sort": "sent", "span": "24h"}


def test_the_page_as_it_is_at_first_has_no_address() -> None:
    assert run(_PLACES, [{}, "", "#", "#tasks"]) == ["", _HOME, _HOME, _HOME]


def test_an_address_is_short_and_says_what_it_means() -> None:
    assert run(
        _PLACES, [{"task": "a/b c"}, {"kind": "failed", "filter": "queue:legacy since:2h"}, {"view": "names"}]
    ) == [
        "#task/a%2Fb%20c",
        "#tasks?kind=failed&filter=queue%3Alegacy+since%3A2h",
        "#names",
    ]
    assert run(_PLACES, ["#task/a%2Fb%20c"]) == [{**_HOME, "task": "a/b c"}]


def test_what_an_address_can_not_mean_is_left_out() -> None:
    wrong = "#elsewhere?kind=constructor&sort=__proto__&span=1&filter=" + "x" * 10_000
    assert run(_PLACES, [wrong]) == [{**_HOME, "filter": "x" * 4096}]
    assert run(_PLACES, ["#task/%E0%A4%A"]) == [{**_HOME, "task": "%E0%A4%A"}]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=1, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT), min_size=50, max_size=100))
def test_any_place_comes_back_from_its_address(texts: list[tuple[str, str]]) -> None:
    places = [{**_HOME, "task": task, "filter": text, "kind": "retrying", "sort": "waited"} for task, text in texts]
    assert run(_PLACES, run(_PLACES, places)) == places


_SAVED = """
  const { readSaved, withSaved, MOST_SAVED } = await use("model/saved.js");
  let kept = [];
  for (let n = 0; n < 2 * MOST_SAVED; n += 1) kept = withSaved(kept, ` ${n} `, `#tasks?filter=${n}`);
  kept = withSaved(withSaved(kept, "99", "#tasks?kind=failed"), " ", "#tasks");
  return { length: kept.length, most: MOST_SAVED, first: kept[0], read: argument.map(readSaved) };
"""


def test_saved_filters_are_bounded_and_read_with_care() -> None:
    texts: list[Any] = [None, "[", "{}", "[1, null, {}]", '[{"name": "a", "address": "https://x#tasks?kind=failed"}]']
    found = run(_SAVED, texts)
    assert found["length"] == found["most"]
    assert found["first"] == {"name": "99", "address": "#tasks?kind=failed"}
    assert found["read"] == [[], [], [], [], [{"name": "a", "address": "#tasks?kind=failed"}]]

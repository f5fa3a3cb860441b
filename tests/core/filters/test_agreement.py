"""One language: what Python and the page make of a filter, and a plain reading of its description, agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.filters.plainly import Term, passes, terms
from tests.support.filters import NOW, WORDS, Page, page, tasks
from watcher.core.event import Task
from watcher.core.filters import KEYS, STATES, InvalidFilter, parse

#: The same examples in each run.
_SETTINGS = settings(derandomize=True, deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
_BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def in_utc() -> Iterator[Page]:
    with page() as asked:
        yield asked


@pytest.fixture(scope="module")
def in_berlin() -> Iterator[Page]:
    with page("Europe/Berlin") as asked:
        yield asked


@_SETTINGS
@given(meant=terms(), some=st.lists(tasks(), min_size=4, max_size=8))
def test_a_filter_means_what_its_description_says(in_utc: Page, meant: list[Term], some: Sequence[Task]) -> None:
    text = " ".join(term.text for term in meant)
    read = parse(text)
    expected = [passes(meant, task) for task in some]
    assert [read.matches(task, NOW) for task in some] == expected
    assert parse(read.text) == read
    span = read.span(NOW)
    if span.since is not None and span.until is not None and span.since > span.until:
        return
    told = in_utc.ask(text, NOW, some)
    assert told == {
        "text": read.text,
        "absolute": read.absolute(NOW).text,
        "span": [span.since, span.until],
        "passed": expected,
    }
    assert [parse(told["absolute"]).matches(task, NOW) for task in some] == expected


_KEYS = (*KEYS, "stat", "State", "root_id", "status", "foo", "nam", "worker_", "runtimes", "")
_VALUES = (
    *WORDS, *STATES, "faild", "FAILED", "sucess", "runing", "restarted", "progressing", "queue", "REV*", "2", "2.5",
    "2h", "1h30m", "0.0000001s", "40000d", "25:00", "7:5", "23:59:60", "2026-02-30", "2026-02-28T24:00", "yesterday",
    "1764558000.5", "9999999999", "2199-12-31T23:59-01:00", "1970-01-01T00:00+01:00", ">5", ">5x", "5s", ">=1.5h",
    "=5s", "**", "*a**b*c*d*e*f*g*h*i*j*k", '"', '"a', 'a"b c"*', '"\\"', '"\\x\\\\"', "", '""', "\x00", "\x1f",
    "\x85", "x" * 70,
)  # fmt: skip
_PIECE = st.builds(
    lambda sign, key, value, end: f"{sign}{key}{value}{end}",
    st.sampled_from(["", "", "-", "--"]),
    st.just("") | st.sampled_from(_KEYS).map(lambda key: f"{key}:"),
    st.sampled_from(_VALUES),
    st.sampled_from([" ", " ", "\t", "\u3000", ""]),
)


@_SETTINGS
@given(st.lists(_PIECE, max_size=4).map("".join))
def test_what_is_wrong_is_told_in_the_same_words(in_utc: Page, text: str) -> None:
    told = in_utc.ask(text, NOW, [])
    assert {name: told[name] for name in ("text", "error", "meant") if name in told} == _made_of(text)


def _made_of(text: str) -> dict[str, str | None]:
    """The same of Python. What is made is right, and so is what is suggested."""
    try:
        read = parse(text, now=NOW)
    except InvalidFilter as error:
        parse(error.meant or "")
        return {"error": str(error), "meant": error.meant}
    assert parse(read.text) == read
    return {"text": read.text}


_WALLS = (
    "02:30", "2:00:01", "00:00", "2026-03-29", "2026-10-25", "2026-03-29T02:30", "2026-10-25T02:30:00.5",
)  # fmt: skip
#: When clocks in Berlin are put forward and back.
_CHANGES = (1_774_746_000, 1_792_890_000)


@_SETTINGS
@given(
    key=st.sampled_from(["since", "until", "-since", "-until"]),
    value=st.sampled_from(_WALLS),
    now=st.sampled_from(_CHANGES).flatmap(lambda at: st.integers(at - 90_000, at + 90_000)),
)
def test_clocks_that_are_put_forward_and_back(in_berlin: Page, key: str, value: str, now: int) -> None:
    """The page goes by the clock of who reads it, as the command line does."""
    read = parse(f"{key}:{value}")
    span = read.span(now, _BERLIN)
    told = in_berlin.ask(read.text, now, [])
    assert told["span"] == [span.since, span.until]
    assert told["absolute"] == read.absolute(now, _BERLIN).text

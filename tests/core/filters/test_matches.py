"""Which tasks pass, at the edges: the same in Python and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.filters import NOW, Page, page
from watcher.core.event import ExceptionInfo, Task, is_final
from watcher.core.filters import parse

HOUR = NOW - 3600


@pytest.fixture(scope="module")
def asked() -> Iterator[Page]:
    with page() as answering:
        yield answering


def task(state: str = "SUCCESS", timestamp: float = NOW, **fields: Any) -> Task:
    told = {"times": {state: timestamp}, **fields}
    return Task(id="t", state=state, timestamp=timestamp, source="signal", final=is_final(state), offset=1, **told)


def error(name: str) -> ExceptionInfo:
    return ExceptionInfo(name, "ΟΔΟΣ")


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("since:1h", task(timestamp=HOUR), task(timestamp=HOUR - 0.001)),
        ("until:1h", task(timestamp=HOUR - 0.001), task(timestamp=HOUR)),
        ("-since:1h", task(timestamp=HOUR - 0.001), task(timestamp=HOUR)),
        ("until:2026-05-31", task(timestamp=NOW - 40_000), task(timestamp=NOW - 3600)),
        ("since:2026-06-01", task(timestamp=NOW - 3600), task(timestamp=NOW - 40_000)),
        ("since:22:00 until:03:10", task(timestamp=NOW - 8 * 3600), task(timestamp=NOW - 6 * 3600)),
        ("runtime:>5s", task(runtime=5.001), task(runtime=5.0)),
        ("runtime:>=5s", task(runtime=5.0), task(runtime=4.999)),
        ("-runtime:>5s", task(), task(runtime=6.0)),
        ("runtime:<=5s", task(times={"STARTED": NOW - 5}), task(times={"STARTED": NOW - 6})),
        ("runtime:>5s", task("STARTED", NOW - 6), task("STARTED", NOW - 6, reason="worker_lost")),
        ("waited:>=1h", task("PENDING", HOUR), task("RECEIVED", HOUR)),
        ("waited:<1s", task("RETRY", NOW, times={"PENDING": HOUR}), task("RETRY", HOUR, times={"PENDING": NOW})),
        ("waited:>1m", task(sent=HOUR, times={"STARTED": NOW}), task(sent=HOUR, retries=1, times={"STARTED": NOW})),
        (
            "state:scheduled",
            task("PENDING", eta="2026-06-01T09:30:15.3Z"),
            task("PENDING", eta="2026-06-01T09:30:15.25Z"),
        ),
        ("state:scheduled", task("RECEIVED", eta="2026-06-01T09:30:16"), task("RETRY", eta="2026-06-01T10:00:00Z")),
        ("state:queued", task("PENDING", eta="soon"), task("PENDING", reason="worker_lost")),
        ("state:rendering", task("RENDERING"), task("Rendering")),
        ('state:"running"', task("running"), task("STARTED")),
        ("name:*", task(name="x"), task(name="")),
        ("root:t", task(), task(root_id="r")),
        ("-parent:*", task(parent_id="t"), task(parent_id="p")),
        ("worker:b@c", task(hostname="a@b@c"), task(hostname="b@c@b")),
        ("error:*Declined", task(exception=error("a.CardDeclined")), task(exception=error("CardDeclined.x"))),
        ("οδος", task(exception=error("E")), task()),
        ("ΟΔΟΣ", task(name="οδοσα"), task(name="οδο")),
        ("name:*ab*b", task(name="abb"), task(name="ab")),
        ("STRASSE", task(name="strasse"), task(name="straße")),
        ("x.send(1,", task(name="x.send", argsrepr="(1, 2)"), task(name="x.send", argsrepr="(2, 1)")),
        ('"a b"', task(tags=("a b",)), task(tags=("a", "b"))),
        ("a b", task(tags=("a", "b")), task(tags=("a", "c"))),
        ("tag:a*a", task(tags=("aa",)), task(tags=("a",))),
        ('tag:"a*"*', task(tags=("a*b",)), task(tags=("ab",))),
    ],
)
def test_at_the_edge(asked: Page, text: str, yes: Task, no: Task) -> None:
    read = parse(text)
    assert [read.matches(each, NOW) for each in (yes, no)] == [True, False]
    assert asked.ask(text, NOW, [yes, no])["passed"] == [True, False]

"""The tables of a run say what was measured, and what to make of it."""

from __future__ import annotations

from bench.page import told
from bench.report import tables

HEAD = {"machine": "a machine", "date": "2026-01-01", "versions": {"one": "1.0"}}


def line(peer: str, value: float, **notes: object) -> dict[str, object]:
    return {"workload": "w1", "peer": peer, "round": 1, "figures": {"delivered/s": value}, **notes}


def test_medians_spreads_and_ratios() -> None:
    lines = [line("one", 30), line("two", 5), line("one", 20), line("two", 10), line("one", 10_000)]
    assert tables([HEAD, *lines]).splitlines() == [
        "2026-01-01, a machine. one: 1.0.",
        "",
        "**w1**: fan-out, 1,000 subscribers, 300-byte events, flat out",
        "",
        "|  | delivered/s | × one | rounds | remarks |",
        "| --- | --- | --- | --- | --- |",
        "| one | 30 (20–10,000) | 1 | 3 |  |",
        "| two | 7.5 (5–10) | 0.25 | 2 |  |",
    ]


def test_what_casts_doubt_on_a_figure_stands_beside_it() -> None:
    doubtful = line("two", 5, saturated=True, lost=3, holes=2, kept_up=False)
    broken = {"workload": "w1", "peer": "three", "round": 1, "error": "RuntimeError: no\nmore"}
    rows = tables([HEAD, line("one", 30, lost=0, kept_up=True), doubtful, broken]).splitlines()
    assert rows[-3].endswith("| 1 |  |")
    assert rows[-2].endswith("| bounded by the load; did not keep up; lost messages; holes in the sequence |")
    assert rows[-1] == "| three | – | – | 0 | failed: RuntimeError: no |"


def test_what_the_page_took_is_a_line_like_the_others() -> None:
    before = {"TaskDuration": 1.0, "ThreadTime": 1.0, "JSHeapUsedSize": 9e6}
    after = {"TaskDuration": 13.0, "ThreadTime": 7.0, "JSHeapUsedSize": 9.5e6}
    line = told(before, after, 60.0, [61.0], [(61.0, 30.0), (4.0, 4.0)])
    assert line["figures"] == {"busy": 0.2, "longest task ms": 61.0, "heap MB before": 9.0, "heap MB after": 9.5}
    assert (line["busy_cpu"], line["longest_cpu_ms"]) == (0.1, 30)
    assert told(before, after, 60.0, [], [])["figures"]["longest task ms"] == 0

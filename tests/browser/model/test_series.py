"""series.js and names.js: the chart above the list, and the table of names."""

from __future__ import annotations

from tests.browser.model.node import run

_SERIES = """
  const { Series, BUCKETS, barsPath, stepText } = await use("model/series.js");
"""


def test_what_is_heard_is_added_where_it_belongs() -> None:
    assert run(
        _SERIES
        + """
      const at = 1_700_000_000;
      const series = new Series(at, at + 3600, true, [{ at: at + 60, sent: 1, succeeded: 2, failed: 1, other: 0 }]);
      series.add(at + 61, "failed");
      series.add(at - 1, "failed");
      const before = [series.buckets[1].failed, series.most, series.buckets.length];
      series.add(at + 3600, "succeeded"); // a minute later: the oldest leaves
      const [first, last] = [series.buckets[0], series.buckets[59]];
      const later = [first.failed, last.succeeded, series.since - at, last.at - at];
      series.moveTo(at + 100_000);
      const long = [series.most, series.until > at + 100_000, series.until - at <= 100_060, series.buckets.length];
      return [before, later, long];
    """
    ) == [[2, 4, 60], [2, 1, 60, 3600], [0, True, True, 60]]


def test_it_is_told_in_words() -> None:
    assert (
        run(
            _SERIES
            + """
      const at = 1_700_049_600;
      return new Series(at, at + 3600, false, [{ at: at + 600, sent: 0, succeeded: 1200, failed: 7, other: 0 }]).text;
    """
        )
        == "From 15 Nov, 12:00 to 15 Nov, 13:00: 1,200 succeeded, 7 failed, most of them (7) at 12:10:00."
    )


def test_bars_are_one_path() -> None:
    assert run(_SERIES + "return [barsPath([0, 0.5], [0, 0.25]), ...[60, 600, 7200, 5].map(stepText)];") == [
        "M1.12 75v-50h.76v50z", "minute", "10 min", "2 h", "5 s",
    ]  # fmt: skip


_NAMES = [
    {"name": "a", "count": 10, "failed": 0, "runtime": {"p50": 0.5, "p95": 1, "max": 2}, "waited": None, "seen": 5},
    {"name": "b", "count": 3000, "failed": 1, "runtime": None, "waited": {"p50": 1, "p95": 70, "max": 90}, "seen": 6},
    {"name": "c", "count": 4, "failed": 3, "runtime": None, "waited": None, "seen": 7},
]


def test_names_are_sorted_by_any_column() -> None:
    answer = run(
        """
      const { sorted, cellsOf, COLUMNS } = await use("model/names.js");
      const order = (column) => sorted(argument, column).map(({ name }) => name).join("");
      const orders = Object.fromEntries(Object.keys(COLUMNS).map((column) => [column, order(column)]));
      return [orders, argument.map(cellsOf), order("constructor")];
    """,
        _NAMES,
    )
    assert answer[0] == {
        "name": "abc", "count": "bac", "failed": "cba", "p50": "abc", "p95": "abc", "waited": "bac", "seen": "cba",
    }  # fmt: skip
    assert [cells["failed"] for cells in answer[1]] == ["0", "1 (< 0.1 %)", "3 (75 %)"]
    assert answer[1][0]["p95"] == "1.00 s"
    assert answer[1][1]["waited"] == "1 m 10 s"
    assert answer[2] == "bac"

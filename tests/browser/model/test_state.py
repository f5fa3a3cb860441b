"""state.js, filter.js and timeline.js: what the table shows, and what stays in memory."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

_HELPERS = """
  const [{ Tasks }, { parse }, { History }] = await Promise.all(
    ["/model/state.js", "/model/filter.js", "/model/timeline.js"].map((path) => import(path)));
  const event = (id, state, timestamp, fields = {}) => ({ id, state, timestamp, source: "signal", ...fields });
  const ids = (tasks) => Array.from({ length: tasks.length }, (_, index) => tasks.at(index).id);
"""


class Script:
    """Runs a few lines of JavaScript that may use the modules under test."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def __call__(self, body: str, argument: Any = None) -> Any:
        return self._page.evaluate(f"async (argument) => {{ {_HELPERS} {body} }}", argument)


@pytest.fixture
def script(blank: Page) -> Script:
    return Script(blank)


def test_newest_first_and_each_event_once(script: Script) -> None:
    assert script("""
      const tasks = new Tasks();
      tasks.apply(event("b", "PENDING", 2), 1);
      tasks.apply(event("a", "PENDING", 1), 2);
      tasks.apply(event("c", "PENDING", 3), 3);
      tasks.apply(event("b", "SUCCESS", 4), 4);
      const again = tasks.apply(event("b", "REVOKED", 9), 4);
      return [ids(tasks), tasks.get("b").task.state, again === undefined, tasks.counts];
    """) == [["c", "b", "a"], "SUCCESS", True,
             {"all": 3, "waiting": 2, "queued": 2, "scheduled": 0, "retrying": 0, "running": 0, "succeeded": 1,
              "failed": 0, "other": 0}]  # fmt: skip


def test_a_snapshot_and_its_events_commute(script: Script) -> None:
    assert (
        script("""
      const times = { PENDING: 1, SUCCESS: 3 };
      const task = { ...event("a", "SUCCESS", 3), final: true, offset: 9, times, result: 5 };
      const first = new Tasks(), second = new Tasks();
      first.merge(task); first.apply(event("a", "PENDING", 1), 7);
      second.apply(event("a", "PENDING", 1), 7); second.merge(task);
      return [first, second].map((tasks) => [tasks.get("a").task.state, tasks.get("a").outcome, tasks.counts.all]);
    """)
        == [["SUCCESS", "5", 1]] * 2
    )


def test_the_bound_spares_what_is_unfinished(script: Script) -> None:
    assert script("""
      const tasks = new Tasks(100);
      tasks.apply(event("old", "STARTED", 0), 1);
      for (let n = 2; n < 500; n += 1) tasks.apply(event(`t${n}`, "SUCCESS", n), n);
      const { counts } = tasks;
      const all = [tasks.size <= 100, tasks.size > 90, tasks.at(0).id, counts.all === tasks.size, counts.running];
      const whole = ids(tasks).includes("old"); // not below a gap
      tasks.select({ kind: "running", groups: [] });
      return [...all, whole, ids(tasks)];
    """) == [True, True, "t499", True, 1, False, ["old"]]


def test_large_values_do_not_stay(script: Script) -> None:
    kept = script("""
      const tasks = new Tasks();
      const big = "x".repeat(16000);
      const error = { type: "E", message: big, traceback: big };
      const args = { args: [big], kwargs: { big }, argsrepr: big, kwargsrepr: big };
      tasks.apply(event("a", "PENDING", 1, args), 1);
      tasks.apply(event("a", "PROGRESS", 2, { meta: { current: 1, total: 2, big } }), 2);
      tasks.apply(event("a", "RETRY", 3, { exception: error }), 3);
      tasks.apply(event("a", "SUCCESS", 4, { result: [big] }), 4);
      return JSON.stringify(tasks.at(0));
    """)
    assert len(kept) < 2000


def test_a_held_list_stays_while_its_rows_change(script: Script) -> None:
    assert script("""
      const tasks = new Tasks();
      tasks.select({ kind: "running", groups: [] });
      tasks.apply(event("a", "STARTED", 1), 1);
      tasks.hold();
      tasks.apply(event("b", "STARTED", 2), 2);
      tasks.apply(event("a", "SUCCESS", 3), 3);
      const held = [ids(tasks), tasks.at(0).task.state, tasks.arrivals];
      tasks.release();
      return [held, ids(tasks), tasks.arrivals];
    """) == [[["a"], "SUCCESS", 1], ["b"], 0]


def test_a_task_of_this_page_is_shown_whatever_the_filter(script: Script) -> None:
    assert script("""
      const tasks = new Tasks();
      tasks.select({ kind: "failed", groups: [] });
      tasks.claim("mine");
      tasks.apply(event("mine", "PENDING", 1), 1);
      tasks.apply(event("other", "PENDING", 2), 2);
      const before = ids(tasks);
      tasks.select({ kind: "failed", groups: [] });
      return [before, tasks.get("mine").mine, ids(tasks)];
    """) == [["mine"], True, []]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["a", "b"]), ("ADD", ["a"]), ("tag:user:42", ["b"]), ('tag:"two words"', ["b"]), ("tag:user", []),
        ("name:tasks.a", []), ("name:tasks.a*", ["a"]), ("root:r1", ["b"]), ("root:a", ["a"]), ("group:g", ["b"]),
        ("state:success", ["a"]), ("state:running", ["b"]), ("-state:running", ["a"]), ('"41, 1"', ["a"]),
        ("worker:celery@x queue:q", ["b"]), ("worker:x", ["b"]), ("id:b", ["b"]), ("http://x", []),
        ("sleep 3600", ["b"]),
    ],
)  # fmt: skip
def test_the_filter(script: Script, query: str, found: list[str]) -> None:
    assert (
        script(
            """
      const tasks = new Tasks();
      const sleep = { name: "tasks.sleep", argsrepr: "(3600,)", kwargsrepr: "{}", tags: ["user:42", "two words"] };
      const places = { root_id: "r1", group_id: "g", hostname: "celery@x", queue: "q" };
      tasks.apply(event("b", "STARTED", 1, { ...sleep, ...places }), 1);
      tasks.apply(event("a", "SUCCESS", 2, { name: "tasks.add", argsrepr: "(41, 1)", kwargsrepr: "{}" }), 2);
      tasks.select({ kind: "all", groups: parse(argument) });
      return ids(tasks).sort();
    """,
            query,
        )
        == found
    )


def test_a_row_keeps_what_filters_look_at(script: Script) -> None:
    """The error's type and message, and it leaves with its state; a filter that speaks of time goes on with it."""
    assert script("""
      let time = 0;
      const tasks = new Tasks(10, () => time);
      const at = (now) => { time = now; tasks.refresh(); return ids(tasks); };
      const exception = { type: "shop.CardDeclined", message: `no money${"!".repeat(999)}`, traceback: "…" };
      tasks.apply(event("a", "RETRY", 10, { exception }), 1);
      const shown = (text, now) => {
        time = now;
        tasks.select({ kind: "all", groups: parse(text) });
        return ids(tasks);
      };
      const found = [shown("error:CardDeclined money", 20), shown("since:5s", 20), shown("since:5s", 14)];
      const moved = [tasks.movesOn, at(15), at(16)];
      tasks.apply(event("a", "STARTED", 30, { retries: 1 }), 2);
      const later = [shown("error:*", 40), shown("runtime:>=10s", 40), tasks.movesOn];
      return [found, moved, later, shown("", 40), tasks.movesOn];
    """) == [[["a"], [], ["a"]], [True, ["a"], []], [[], ["a"], True], ["a"], False]


def test_ten_thousand_tasks_cost_little(script: Script) -> None:
    milliseconds = script("""
      const tasks = new Tasks();
      tasks.select({ kind: "all", groups: parse("add") });
      const start = performance.now();
      for (let n = 1; n <= 40000; n += 1) {
        const states = ["PENDING", "RECEIVED", "STARTED", "SUCCESS"];
        tasks.apply(event(`t${n >> 2}`, states[n % 4], n, { name: "tasks.add", argsrepr: "(1, 2)" }), n);
      }
      return performance.now() - start;
    """)
    assert milliseconds < 4000  # 100 µs an event: ten times what it takes here


def test_a_timeline_by_try_with_progress_once(script: Script) -> None:
    assert script("""
      const history = new History("t");
      const life = [["PENDING", 0], ["STARTED", 0], ["PROGRESS", 0], ["PROGRESS", 0], ["RETRY", 0],
                    ["STARTED", 1], ["SUCCESS", 1]];
      life.forEach(([state, retries], at) => history.apply(event("t", state, at * 2, { retries, meta: at }), at + 1));
      history.apply(event("t", "RECEIVED", 1, { retries: 0, late: true }), 8);
      return history.tries().map(({ retries, entries }) =>
        [retries, entries.map(({ event, times, delta }) => [event.state, times, delta ?? null])]);
    """) == [
        [0, [["PENDING", 1, None], ["RECEIVED", 1, 1], ["STARTED", 1, 1], ["PROGRESS", 2, 2], ["RETRY", 1, 4]]],
        [1, [["STARTED", 1, 2], ["SUCCESS", 1, 2]]],
    ]


def test_a_timeline_is_bounded(script: Script) -> None:
    assert script("""
      const history = new History("t");
      for (let n = 1; n <= 2000; n += 1) history.apply(event("t", "RETRY", n, { retries: n }), n);
      return [history.tries().length < 500, history.omitted > 1000, history.task.retries];
    """) == [True, True, 2000]


def test_no_row_is_shown_below_a_gap(script: Script) -> None:
    """What was loaded for another filter waits until all above it is there; then the list goes on at its end."""
    assert script("""
      const tasks = new Tasks(100);
      const task = (id, at, state = "SUCCESS") => ({ ...event(id, state, at), offset: at, final: true, times: {} });
      for (const at of [9, 8, 7, 2]) tasks.merge(task(`t${at}`, at));
      tasks.completeSince(7);
      const first = ids(tasks);
      tasks.hold();
      tasks.apply(event("new", "PENDING", 10), 10);
      for (const at of [6, 5]) tasks.merge(task(`t${at}`, at));
      const waiting = ids(tasks);
      tasks.reach(5);
      const more = [ids(tasks), tasks.arrivals];
      tasks.reach(-Infinity);
      tasks.release();
      return [first, waiting, more, ids(tasks)];
    """) == [
        ["t9", "t8", "t7"],
        ["t9", "t8", "t7"],
        [["t9", "t8", "t7", "t6", "t5"], 1],
        ["new", "t9", "t8", "t7", "t6", "t5", "t2"],
    ]


def test_sorted_by_runtime(script: Script) -> None:
    assert script("""
      const tasks = new Tasks();
      tasks.apply(event("a", "SUCCESS", 1, { runtime: 5 }), 1);
      tasks.apply(event("b", "STARTED", 2), 2);
      tasks.apply(event("c", "SUCCESS", 3, { runtime: 7 }), 3);
      tasks.select({ kind: "all", groups: [], sort: "runtime" });
      const before = ids(tasks);
      tasks.apply(event("b", "SUCCESS", 8, { runtime: 6 }), 4);
      return [before, ids(tasks)];
    """) == [["c", "a"], ["c", "b", "a"]]


def test_what_the_relay_has_found_by_words_is_shown(script: Script) -> None:
    """The page keeps less of a task than the relay looks at."""
    assert script("""
      const tasks = new Tasks();
      tasks.select({ kind: "failed", groups: parse("needle queue:q") });
      const task = (id, state, queue) => ({ ...event(id, state, 1, { queue }), offset: 1, final: true, times: {} });
      tasks.merge(task("a", "FAILURE", "q"), true);
      tasks.merge(task("b", "FAILURE", "q"));
      tasks.merge(task("c", "SUCCESS", "q"), true);
      return ids(tasks);
    """) == ["a"]

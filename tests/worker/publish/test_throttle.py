"""Of a task that reports too often, the newest report passes; nothing is kept for ever."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from watcher.worker.publish.throttle import ProgressThrottle


def test_throttle_passes_the_first_report_and_later_the_newest() -> None:
    throttle: ProgressThrottle[int] = ProgressThrottle(0.1)
    assert throttle.offer("a", 1, 10.0) == (1, None)
    assert throttle.offer("a", 2, 10.01) == (None, None)
    assert throttle.offer("a", 3, 10.02) == (None, 2)
    assert throttle.next_due() == 10.1
    assert throttle.due(10.05) == []
    assert throttle.due(10.11) == [3]
    assert throttle.next_due() is None
    assert throttle.offer("a", 4, 10.15) == (None, None), "the kept one has just passed"
    assert throttle.due(10.3) == [4]
    assert throttle.offer("a", 5, 11.0) == (5, None)


def test_another_event_of_the_task_takes_the_kept_report_along() -> None:
    throttle: ProgressThrottle[int] = ProgressThrottle(0.1)
    throttle.offer("a", 1, 0.0)
    throttle.offer("a", 2, 0.0)
    assert throttle.release("a") == 2
    assert throttle.release("a") is None
    assert throttle.due(1.0) == []


def test_it_is_idle_when_no_report_has_a_say() -> None:
    throttle: ProgressThrottle[int] = ProgressThrottle(0.1)
    assert throttle.idle
    throttle.offer("a", 1, 0.0)
    assert not throttle.idle, "the next report is to be kept"
    throttle.due(0.05)
    assert not throttle.idle
    throttle.due(0.2)
    assert throttle.idle


def test_it_keeps_no_more_than_its_limit_and_loses_nothing_by_it() -> None:
    throttle: ProgressThrottle[str] = ProgressThrottle(0.1, limit=2)
    for task in "abc":
        throttle.offer(task, "first", 0.0)
    assert [throttle.offer(task, "second", 0.01)[0] for task in "abc"] == [None, None, "second"]
    assert len(throttle) == 2


def test_tasks_that_reported_once_are_forgotten() -> None:
    throttle: ProgressThrottle[int] = ProgressThrottle(0.1)
    for number in range(10_000):
        throttle.offer(str(number), number, number * 0.01)
    assert len(throttle._passed_at) < 20


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.06), st.booleans()), max_size=60))
def test_throttle_keeps_its_rate_and_ends_with_the_newest_report(steps: list[tuple[str, float, bool]]) -> None:
    throttle: ProgressThrottle[tuple[str, int]] = ProgressThrottle(0.1, limit=10)
    now = 0.0
    passed: list[tuple[float, str, int]] = []
    newest: dict[str, int] = {}
    accounted = 0
    for number, (task, elapsed, look) in enumerate(steps):
        now += elapsed
        if look:
            passed += [(now, *report) for report in throttle.due(now)]
        report, replaced = throttle.offer(task, (task, number), now)
        newest[task] = number
        accounted += replaced is not None
        if report is not None:
            passed.append((now, *report))
    passed += [(now, *report) for report in throttle.release_all()]
    assert len(passed) + accounted == len(steps), "each report passed, or was replaced by a newer one"
    for task, number in newest.items():
        own = [(when, which) for when, name, which in passed if name == task]
        assert own[-1][1] == number
        assert own == sorted(own)
        between = [later[0] - earlier[0] for earlier, later in pairwise(own[:-1])]
        assert all(gap >= 0.1 - 1e-9 for gap in between)

"""The pace: nothing waits while the allowance lasts, nothing waits long, and no more is taken than is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.worker.publish.cpu_budget import CpuBudget

SEND = 0.0002
"""Seconds of CPU of one send."""


def after(sends: int, seconds: float, *, cost: float = SEND) -> CpuBudget:
    """A pace after so many sends, spread evenly, whether or not it would have had them wait."""
    pace = CpuBudget()
    for step in range(sends):
        pace.note(cost, step * seconds / sends)
    return pace


@pytest.mark.parametrize(
    ("sends", "seconds", "lingers", "rests"),
    [
        (1, 10, False, False),
        (20, 0.02, False, False),  # a burst
        (400, 10, False, False),
        (100, 1, True, True),
        (1000, 10, True, True),
    ],
)
def test_waiting_begins_when_the_allowance_runs_short(sends: int, seconds: float, lingers: bool, rests: bool) -> None:
    pace = after(sends, seconds)
    assert (pace.linger > 0) is lingers
    assert (pace.rest > 0) is rests


def test_what_is_saved_up_goes_to_ends_before_it_goes_out() -> None:
    pace = after(40, 0.04)
    assert pace.linger > 0
    assert pace.rest == 0


def test_a_lone_event_after_a_storm_waits_for_nothing() -> None:
    pace = after(3000, 2)
    pace.note(SEND, 10.0)
    assert pace.linger == pace.rest == 0


def test_a_slow_machine_rests_longer() -> None:
    """What takes twice as much is paid for in twice the time."""
    rests = []
    for cost in (0.0001, 0.0002):
        pace, now = CpuBudget(), 0.0
        for _ in range(1000):
            pace.note(cost, now)
            now += pace.rest
        rests.append(pace.rest)
    assert rests == pytest.approx([0.01, 0.02])


def test_what_nobody_waits_for_may_take_half() -> None:
    taken = dict[bool, float]()
    for ends in (True, False):
        pace, now = CpuBudget(), 0.0
        while now < 100:
            pace.note(SEND, now, ends=ends)
            taken[ends] = taken.get(ends, 0) + SEND
            now += max(pace.rest, 0.0001)
    assert taken[False] == pytest.approx(taken[True] / 2, rel=0.02)
    assert taken[True] / 100 == pytest.approx(0.01, rel=0.02)


def test_connecting_makes_nobody_wait() -> None:
    pace = CpuBudget()
    pace.note(0.5, 100.0)
    assert pace.linger == pace.rest == 0


@given(st.lists(st.tuples(st.floats(0, 0.0003), st.floats(0, 0.05)), max_size=200))
def test_no_more_is_taken_than_is_allowed(sends: list[tuple[float, float]]) -> None:
    """Of one who rests as told, however much each send costs and whenever the next event comes."""
    pace, now, used = CpuBudget(), 0.0, 0.0
    for cost, idle in sends:
        now += pace.rest
        pace.note(cost, now)
        used += cost
        assert used <= 0.01 * (now + 1) + 0.0003 + 1e-9
        now += idle


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(-1, 1), st.booleans()), max_size=50))
def test_no_wait_is_ever_long(steps: list[tuple[float, float, bool]]) -> None:
    pace, now = CpuBudget(), 0.0
    for used, elapsed, ends in steps:
        now += elapsed
        pace.note(used, now, ends=ends)
        assert 0 <= pace.linger <= 0.02
        assert 0 <= pace.rest <= (0.03 if ends else 0.06) + 1e-9

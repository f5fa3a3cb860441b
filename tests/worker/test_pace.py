"""The pace: nothing waits when events are few, and nothing waits long when they are many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.worker.pace import Pace


def after(events: float, ends: float, seconds: float = 2.0) -> Pace:
    """A pace after so long at steady rates, noted a hundred times a second."""
    pace = Pace()
    for step in range(int(seconds * 100)):
        now = step / 100
        pace.note(
            int((step + 1) * events / 100) - int(step * events / 100),
            int((step + 1) * ends / 100) - int(step * ends / 100),
            now,
        )
    return pace


@pytest.mark.parametrize(
    ("events", "ends", "lingers", "rests"),
    [
        (1, 0.5, False, False),
        (40, 20, False, False),
        (400, 0, True, False),
        (500, 250, True, False),
        (2400, 1200, True, True),
    ],
)
def test_waiting_begins_with_the_load(events: float, ends: float, lingers: bool, rests: bool) -> None:
    pace = after(events, ends)
    assert (pace.linger > 0.001) is lingers
    assert (pace.rest > 0.001) is rests


def test_a_lone_event_after_a_storm_waits_for_nothing() -> None:
    pace = after(3000, 1500)
    pace.note(1, 1, 10.0)
    assert pace.linger == pace.rest == 0


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), max_size=50))
def test_no_wait_is_ever_long(steps: list[tuple[int, float]]) -> None:
    pace, now = Pace(), 0.0
    for events, elapsed in steps:
        now += elapsed
        pace.note(events, events, now)
        assert 0 <= pace.linger <= 0.02
        assert 0 <= pace.rest <= 0.02

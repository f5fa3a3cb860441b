"""Whose token ends when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watcher.relay.security.token_expiry import TokenExpiries

moments = st.none() | st.floats(0, 20)


@given(st.lists(st.tuples(st.integers(0, 5), moments)), st.lists(st.floats(0, 25)).map(sorted))
def test_each_is_due_once_and_within_a_second_of_its_last_moment(
    puts: list[tuple[int, float | None]], looks: list[float]
) -> None:
    expiries = TokenExpiries[int]()
    waiting: dict[int, float] = {}
    for client, moment in puts:
        expiries.put(client, moment)
        waiting.pop(client, None)
        if moment is not None:
            waiting[client] = moment
    for now in looks:
        found = expiries.due(now)
        assert len(found) == len(set(found))
        assert all(waiting.pop(client) <= now for client in found)
        assert all(moment > now - 1 for moment in waiting.values())
    assert len(expiries) == len(waiting)


def test_who_has_left_is_forgotten() -> None:
    expiries = TokenExpiries[str]()
    expiries.put("a", 1.0)
    expiries.drop("a")
    expiries.drop("a")
    assert expiries.due(2.0) == []
    assert len(expiries) == 0


def test_a_moment_may_be_however_far_away() -> None:
    expiries = TokenExpiries[str]()
    expiries.put("a", 1e300)
    assert expiries.due(1e12) == []

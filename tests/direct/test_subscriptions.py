"""Who waits for what: the pure part of `watcher.results`, against a model of what Redis does."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from watcher.direct.subscriptions import Interest

NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)


def test_interest_batches_subscribes_and_drops_on_last_leave() -> None:
    interest: Interest[int] = Interest()
    assert not any(interest.join(name, 1) for name in NAMES)
    assert interest.change(2) == (["a", "b"], [])
    assert interest.change(2) == (["c"], [])
    assert interest.change(2) == ([], [])
    assert interest.confirm("a")
    assert interest.join("a", 2)
    interest.leave("a", 1)
    assert interest.change(9) == ([], [])
    interest.leave("a", 2)
    assert interest.change(9) == ([], ["a"])
    for name in ("b", "c"):
        interest.leave(name, 1)
        assert not interest.confirm(name)
    assert interest.change(9) == ([], ["b", "c"])
    assert not interest


def test_a_confirmation_that_nobody_asked_for_is_a_new_connection() -> None:
    interest: Interest[int] = Interest()
    interest.join("a", 1)
    with pytest.raises(ConnectionError):
        interest.confirm("a")


class Redis(RuleBasedStateMachine):
    """A connection, what it is asked for, and what those who joined were told."""

    def __init__(self) -> None:
        super().__init__()
        self.interest: Interest[int] = Interest()
        self.subscribed: set[str] = set()
        self.answers: deque[str] = deque()
        self.wanted: set[str] = set()
        self.ready: set[str] = set()

    @rule(name=names)
    def join(self, name: str) -> None:
        self.wanted.add(name)
        if self.interest.join(name, 1):
            self.ready.add(name)

    @rule(name=names)
    def leave(self, name: str) -> None:
        self.wanted.discard(name)
        self.ready.discard(name)
        self.interest.leave(name, 1)

    @rule()
    def carry_out_a_command(self) -> None:
        subscribe, unsubscribe = self.interest.change(1)
        self.subscribed.difference_update(unsubscribe)
        self.subscribed.update(subscribe)
        self.answers.extend(subscribe)

    @precondition(lambda self: self.answers)
    @rule()
    def confirm(self) -> None:
        name = self.answers.popleft()
        if self.interest.confirm(name):
            self.ready.add(name)

    @rule()
    def connect_anew(self) -> None:
        self.subscribed.clear()
        self.answers.clear()
        self.ready.clear()
        self.interest.renew()

    @invariant()
    def whoever_was_told_so_is_listened_to(self) -> None:
        assert self.ready <= self.subscribed

    def teardown(self) -> None:
        """In the end all that is wanted is listened to, and nothing else."""
        for _ in range(2 * len(NAMES)):
            self.carry_out_a_command()
        while self.answers:
            self.confirm()
        assert self.subscribed == self.ready == self.wanted == set(self.interest)
        assert len(self.interest) == len(self.wanted)


test_against_a_model_of_redis = Redis.TestCase

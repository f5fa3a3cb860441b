"""Waits between attempts: their bounds, and that no two processes wait alike."""

from __future__ import annotations

from random import Random

import pytest

from watcher.core.backoff import TO_REDIS, TO_RELAY, Backoff
from watcher.relay.safety_net.lease import ASK
from watcher.relay.safety_net.safety_net import RESUME
from watcher.worker.heartbeat import RETRY
from watcher.worker.publish.sender import RESEND

# Of each policy the bounds of its first waits and of all later ones, in seconds: docs and other constants rely on them.
POLICIES: dict[str, tuple[Backoff, list[tuple[float, float]], tuple[float, float]]] = {
    "a client of the relay": (TO_RELAY, [(0, 0.2), (0, 0.4), (0, 0.8)], (0, 20)),
    "relays and results at Redis": (TO_REDIS, [(0.025, 0.05), (0.05, 0.1), (0.1, 0.2)], (0.5, 1)),
    "a worker's outbox": (RESEND, [(0.08, 0.12), (0.16, 0.24), (0.32, 0.48)], (0.8, 1.2)),
    "a worker's sign of life": (RETRY, [(1, 2)] * 3, (1, 2)),
    "the safety net": (RESUME, [(0.5, 1)] * 3, (0.5, 1)),
    "the lease": (ASK, [(0.75, 1.5)] * 3, (0.75, 1.5)),
}


@pytest.mark.parametrize("who", POLICIES)
def test_waits_stay_within_their_bounds(who: str) -> None:
    policy, first, last = POLICIES[who]
    chance = Random(who)
    for _ in range(200):
        for attempt, (least, most) in [*enumerate(first), (20, last), (10**6, last)]:
            assert least <= policy.seconds(attempt, chance.random) <= most * (1 + 1e-9), attempt


@pytest.mark.parametrize("who", POLICIES)
def test_of_a_thousand_who_fail_together_few_come_back_together(who: str) -> None:
    policy, first, _ = POLICIES[who]
    chance = Random(who)
    least, most = first[0]
    moments = sorted(policy.seconds(0, chance.random) for _ in range(1000))
    tenth = (most - least) / 10
    at_once = max(sum(moment <= other < moment + tenth for other in moments) for moment in moments)
    assert at_once < 200


def test_waits_grow_with_full_jitter_up_to_a_bound() -> None:
    longest = [TO_RELAY.seconds(attempt, lambda: 1.0) for attempt in range(12)]
    assert longest[:4] == [0.2, 0.4, 0.8, 1.6]
    assert longest == sorted(longest)
    assert longest[-1] == TO_RELAY.seconds(10_000, lambda: 1.0) == 20.0
    assert TO_RELAY.seconds(5, lambda: 0.0) == 0.0


def test_each_wait_is_twice_the_one_before_up_to_the_bound() -> None:
    waits = [Backoff(first=0.5, longest=6).seconds(attempt, lambda: 1.0) for attempt in range(6)]
    assert waits == [0.5, 1, 2, 4, 6, 6]


@pytest.mark.parametrize(("spread", "least"), [(0.0, 8.0), (0.25, 6.0), (1.0, 0.0)])
def test_chance_takes_no_more_than_its_share(spread: float, least: float) -> None:
    assert Backoff(first=8, longest=8, spread=spread).seconds(0, lambda: 0.0) == least

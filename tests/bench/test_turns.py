"""What a worker's turns with and without the plugin say."""

from __future__ import annotations

import pytest

from bench.turns import TURN, compared


def test_comparison_of_turns_is_unaffected_by_a_slowing_host() -> None:
    samples, done = [(100.0, 0)], 0
    for turn in range(40):  # even ones are with the plugin, by a tenth slower; the host slows down to a third
        done += round((1000 - 17 * turn) * (0.9 if turn % 2 == 0 else 1))
        samples.append((100.0 + (turn + 1) * TURN, done))
    found = compared(samples)
    assert found["with, × without"] == pytest.approx(0.9, abs=0.002)
    assert found["tasks/s with"] < found["tasks/s without"]

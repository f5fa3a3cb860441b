"""What is remembered of channels without events: never less than they lost, exact for long, in memory that is flat."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from watcher.relay.stream.lost_offsets import LostOffsets

CHANNELS = st.sampled_from([f"task:{number}" for number in range(50)])


def test_who_has_lost_nothing_is_whole_from_the_start_on() -> None:
    assert LostOffsets(7).newest("task:a") == 7


@given(st.integers(0, 2**63), st.lists(st.tuples(CHANNELS, st.integers(-50, 10_000)), max_size=200))
def test_the_newest_that_a_channel_lost_is_known(start: int, noted: list[tuple[str, int]]) -> None:
    lost, truth = LostOffsets(start), dict[str, int]()
    for channel, distance in noted:
        lost.note(channel, start + distance)
        truth[channel] = max(truth.get(channel, start), start + distance)
    for channel, offset in truth.items():
        assert lost.newest(channel) == offset


def test_lost_offsets_never_understate_a_channel() -> None:
    dice = random.Random(5)
    channels = [(offset, f"task:{dice.getrandbits(128):032x}") for offset in range(1, 250_001)]
    lost = LostOffsets(0)
    for offset, channel in channels:
        lost.note(channel, offset)
    assert all(lost.newest(channel) >= offset for offset, channel in dice.sample(channels, 5_000))
    newest = dice.sample(channels[-200_000:], 5_000)
    assert sum(lost.newest(channel) == offset for offset, channel in newest) > 0.99 * len(newest)


def test_it_takes_no_more_memory_however_many_channels_come_and_go() -> None:
    lost = LostOffsets(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(2_000):
            lost.note(f"task:{number}", number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4096

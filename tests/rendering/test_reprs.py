"""A short repr is the real one's beginning, and costs no more than it shows."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.rendering.reprs import clean, short_repr

leaves = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
hashable = st.recursive(leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    hashable | st.sets(hashable, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(hashable, inner, max_size=3),
    max_leaves=15,
)


class Bulky:
    def __repr__(self) -> str:
        return "é" * 1_000_000


@given(values, st.integers(1, 2000))
def test_it_is_the_beginning_of_the_real_repr(value: Any, limit: int) -> None:
    real = repr(value)
    if len(real) <= limit:
        assert short_repr(value, limit) == clean(real)[:limit]
    else:
        assert len(short_repr(value, limit)) == limit


@pytest.mark.parametrize(
    "value",
    [
        {"x" * 5_000_000: {1}},
        [{1}] * 1_000_000,
        "\ud800" * 5_000_000,
        set(range(1_000_000)),
        Bulky(),
        [[[Bulky()]] * 999],
    ],
    ids=["long key", "long list", "long string", "large set", "bulky", "bulky ones"],
)
def test_a_large_value_costs_no_more_than_a_small_one(value: Any) -> None:
    start = time.thread_time()
    assert len(short_repr(value, 1024)) == 1024
    assert time.thread_time() - start < 0.05


def test_circles_and_depth_end() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    assert short_repr(circle, 1024) == repr(circle)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert short_repr(deep, 1024) == "[" * 100 + "[...]" + "]" * 100


def test_lone_surrogates_are_escaped() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "\ud800é"

    assert short_repr(Odd(), 1024) == r"\ud800é"

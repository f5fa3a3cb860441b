"""Tags: where they come from, and what can't be one."""

from __future__ import annotations

import pytest

import watcher
from watcher.worker import tagging


def test_blocks_nest_and_end() -> None:
    with watcher.tags("a"):
        with watcher.tags("b", "c"):
            assert tagging.current() == ("a", "b", "c")
        assert tagging.current() == ("a",)
    assert tagging.current() == ()


def test_a_block_ends_with_an_error_too() -> None:
    with pytest.raises(RuntimeError), watcher.tags("a"):
        raise RuntimeError
    assert tagging.current() == ()


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("x" * 252, ValueError), (7, TypeError)])
def test_what_can_not_be_a_tag_is_refused_where_it_stands(name: str, error: type[Exception]) -> None:
    with pytest.raises(error), watcher.tags(name):
        pass


def test_stamps_are_tags() -> None:
    headers = {"watcher_tags": ["a"], "stamped_headers": ["user", "many"], "stamps": {"user": 42, "many": ["x", "y"]}}
    assert tagging.of_headers(headers) == ["user=42", "many=x", "many=y", "a"]
    assert tagging.of_task({"stamps": {}, "stamped_headers": None}) is None


def test_each_tag_counts_once_and_there_is_an_end() -> None:
    assert tagging.combined(["a", "b"], ["b", "", 7, "x" * 252]) == ("a", "b")
    assert len(tagging.combined(map(str, range(1000)))) == 64
    assert tagging.of_header({"watcher_tags": "one"}) == ["one"]
    assert tagging.of_header({"watcher_tags": 5}) == []

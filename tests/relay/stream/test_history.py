"""The history and the hub: what is kept, what is found, what each watcher is handed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.support.events import life, line
from tests.support.order import Referee
from watcher.core.event import InvalidEvent, decode, encode, task_of
from watcher.relay.stream.history import ALL, History
from watcher.relay.stream.hub import Hub


def filled(*lines: bytes, events: int = 1000, size: int = 1 << 20) -> History:
    history = History(events, size)
    history.reset("e", 1)
    for each in lines:
        history.append(each)
    return history


def offsets(history: History, channel: str, after: int = 0, limit: int = 1 << 20) -> list[int]:
    return [offset for _, offset, _ in history.since({channel: after}, 0, limit).events]


def test_each_channel_finds_its_events() -> None:
    history = filled(
        line("a", name="n", root_id="r", group_id="g", tags=("t",)),
        line("b", name="n"),
        line("a", "STARTED", name="n", root_id="r"),
    )
    assert offsets(history, ALL) == [1, 2, 3]
    assert offsets(history, "task:a") == [1, 3]
    assert offsets(history, "name:n") == [1, 2, 3]
    assert offsets(history, "root:r", after=1) == [3]
    assert offsets(history, "group:g") == offsets(history, "tag:t") == [1]
    assert offsets(history, "task:nobody") == []


def test_a_piece_ends_near_its_limit_and_says_where() -> None:
    history = filled(*[line(f"t{number}") for number in range(100)])
    size = len(line("t0"))
    piece = history.since({ALL: 0}, 0, size * 10)
    assert [offset for _, offset, _ in piece.events] == list(range(1, 11))
    assert piece.cursor == 10
    assert history.since({ALL: 0}, 10, 1 << 20).cursor == 100


def test_an_event_on_two_channels_is_in_one_piece() -> None:
    history = filled(line("a", name="n"), line("b", name="n"))
    piece = history.since({"task:a": 0, "name:n": 0}, 0, 1)
    assert [(channel, offset) for channel, offset, _ in piece.events] == [("name:n", 1), ("task:a", 1)]


def test_a_finished_task_leaves_with_its_last_event_whole() -> None:
    history = filled(*[encode(each) for each in life("a", name="n")], *[line(f"t{n}") for n in range(7)], events=8)
    task = history.task("a")
    assert task is not None
    assert set(task.times) == {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
    for number in range(7, 9):
        history.append(line(f"t{number}"))
    assert history.task("a") is None


def test_an_unfinished_task_is_known_however_long_ago_it_was_sent() -> None:
    history = filled(line("old", name="n"), events=10)
    for number in range(500):
        for each in life(f"t{number}"):
            history.append(encode(each))
    task = history.task("old")
    assert task is not None
    assert (task.state, task.name) == ("PENDING", "n")
    assert offsets(history, "task:old") == [1]
    history.append(line("old", "SUCCESS", 2))
    assert (found := history.task("old")) is not None
    assert found.name == "n"


def test_of_many_reports_outside_the_window_the_newest_is_kept() -> None:
    history = filled(line("a", "STARTED"), *[line("a", "PROGRESS", float(at)) for at in range(2, 60)], events=5)
    for number in range(50):
        history.append(line(f"t{number}", "SUCCESS"))
    assert offsets(history, "task:a") == [1, 59]


def test_what_was_lost_is_known_to_be_lost() -> None:
    history = filled(*[encode(each) for number in range(50) for each in life(f"t{number}", name="n")], events=20)
    assert history.is_whole(ALL, 180)
    assert not history.is_whole(ALL, 179)
    assert not history.is_whole("task:t0", 0)
    assert history.is_whole("task:t0", 4)
    assert history.is_whole("task:t49", 0)
    assert history.is_whole("task:nobody", 0)
    assert history.is_whole("name:n", 180)
    assert not history.is_whole("name:n", 175)
    assert not history.is_whole(ALL, 201), "nobody can have seen what has not happened"


def test_names_that_nobody_can_watch_are_not_remembered() -> None:
    """Whoever may write to Redis thinks of names of any length, and of each channel is known for long what it lost."""
    history = filled(events=2)
    tracemalloc.start()
    try:
        for number in range(200):
            name = f"{number}-{'x' * 100_000}"
            history.append(line(name, "SUCCESS", name=name, root_id=name, group_id=name, tags=(name,)))
        assert tracemalloc.get_traced_memory()[0] < 5_000_000, "of 100 MB"
    finally:
        tracemalloc.stop()
    newest = history.task(name)
    assert newest is not None, "it is a task like any other, as long as it is there"
    assert newest.state == "SUCCESS"


def test_once_it_is_full_it_takes_no_more_memory() -> None:
    """What the last of 200,000 channels lost is known, and a relay runs for weeks."""
    history = filled(events=100)

    def flow(first: int, count: int) -> None:
        for number in range(first, first + count):
            for each in life(f"task-{number}", name="n", root_id=f"root-{number}"):
                history.append(encode(each))

    flow(0, 500)
    tracemalloc.start()
    try:
        flow(500, 500)
        before, _ = tracemalloc.get_traced_memory()
        flow(1000, 2000)
        assert tracemalloc.get_traced_memory()[0] - before < 40_000, "20 bytes a task"
    finally:
        tracemalloc.stop()
    assert not history.is_whole("root:root-1500", 4 * 1500)
    assert history.is_whole("root:root-1500", 4 * 1501)


def test_what_was_before_the_relay_came_is_not_known_to_be_whole() -> None:
    history = History(100, 1 << 20)
    history.reset("e", 51)
    history.keep(3, line("old"))
    history.keep(60, line("in the window later"))
    history.append(line("a"))
    assert history.task("old") is not None
    assert history.task("in the window later") is None
    assert not history.is_whole("task:old", 0)
    assert history.is_whole("task:a", 50)
    assert offsets(history, "task:old") == [3]


def test_history_is_bounded_in_bytes_but_keeps_one_event() -> None:
    history = filled(*[line(f"t{n}", "SUCCESS", argsrepr="x" * 500) for n in range(100)], size=5000)
    assert 1 < len(history) < 10
    history.append(line("large", "SUCCESS", argsrepr="x" * 9000))
    assert len(history) == 1


def test_invalid_event_uses_an_offset_but_is_not_delivered() -> None:
    history = filled(line("a"))
    with pytest.raises(InvalidEvent):
        history.append(b'{"id":')
    history.append(line("b"))
    assert offsets(history, ALL) == [1, 3]
    for number in range(2000):
        history.append(line(f"t{number}"))
    assert history.first > 3


def test_the_window_is_a_little_larger_than_its_bounds_at_most() -> None:
    history = History(1000, 1 << 30)
    history.reset("e", 1)
    lengths = set()
    for number in range(3000):
        history.append(line(f"t{number % 7}", "PROGRESS", float(number)))
        lengths.add(len(history))
    assert max(lengths) == 1010
    assert history.task("t0") is not None


def walked(history: History, *channels: str, before: int | None = None, **how: Any) -> list[tuple[int, str | None]]:
    """What a walk finds: offsets, each with the state of the task that has its newest event there."""
    found = [each for each in history.walk(channels, before, **how) if each is not None]
    return [(offset, None if task is None else f"{task.id} {task.state}") for offset, task in found]


def test_a_walk_goes_from_new_to_old_and_names_each_task_once() -> None:
    history = filled(*[encode(each) for number in range(10) for each in life(f"t{number}")], events=20)
    history.append(line("t3", "PENDING", 99.0, retries=1))
    whole = walked(history, ALL)
    offsets = [offset for offset, _ in whole]
    assert offsets == sorted(set(offsets), reverse=True)
    assert [task.split()[0] for _, task in whole if task] == ["t3", "t9", "t8", "t7", "t6", "t5"]
    for before in range(1, history.last + 2):  # however it is cut into pages
        assert walked(history, ALL, before=before) == [each for each in whole if each[0] < before]


def test_a_walk_of_several_channels_names_each_event_once() -> None:
    history = filled(
        line("a", tags=("t", "u")), line("b", tags=("u",)), line("c"), line("a", "SUCCESS", 3, tags=("t", "u"))
    )
    assert walked(history, "tag:t", "tag:u", "task:a", "tag:none") == [(4, "a SUCCESS"), (2, "b PENDING"), (1, None)]
    assert walked(history, "tag:t", "task:c", before=4) == [(3, "c PENDING"), (1, None)]
    assert walked(history) == walked(history, "tag:none") == []


def test_walk_continues_while_the_history_grows() -> None:
    history = filled(*[line(f"t{n}") for n in range(3000)], events=3000)
    steps = history.walk([ALL], None, lambda place: place.task_index.task in ("t2999", "t500", "t2"))
    found: list[int | None] = []
    for step in steps:
        found.append(step and step[0])
        if step is None:
            for n in range(400):
                history.append(line(f"t{n}", "SUCCESS", 2.0))
    assert found == [3000, None, None, 501, 3]  # 3 has left the window by then, and is kept


def test_a_walk_names_a_task_whose_newest_event_is_elsewhere() -> None:
    history = filled(line("a", tags=("t",)), line("a", "STARTED", 2, tags=("t",)), line("a", "SUCCESS", 3))
    assert walked(history, "tag:t") == [(2, "a SUCCESS"), (1, None)]
    assert walked(history, ALL, sees=lambda place: "tag:t" in place.channels) == [(2, "a SUCCESS"), (1, None)]


def test_an_overlong_id_is_kept_like_any_other() -> None:
    name = "x" * 1000
    history = filled(*[encode(each) for each in life(name)], *[line(f"t{n}") for n in range(10)], events=5)
    assert history.task(name) is None
    assert walked(history, ALL)


def test_hub_delivers_each_event_once_per_channel_in_order() -> None:
    hub: Hub[str] = Hub(filled())
    assert hub.watch("task:a", "one")
    assert not hub.watch("task:a", "two")
    hub.watch(ALL, "two")
    hub.publish([line("a"), line("b"), line("a", "STARTED")])
    handed = {watcher: parts for parts, watchers in hub.flush() for watcher in watchers}
    assert [(part.channel, [offset for offset, _ in part.events]) for part in handed["one"]] == [("task:a", [1, 3])]
    assert {part.channel: [offset for offset, _ in part.events] for part in handed["two"]} == {
        ALL: [1, 2, 3], "task:a": [1, 3],
    }  # fmt: skip
    assert handed["one"][0] in handed["two"], "the same publications, so that a frame is built once"
    assert hub.flush() == []
    assert not hub.unwatch("task:a", "one")
    assert hub.unwatch("task:a", "two")
    assert hub.subscribers() == {"two"}


IDS = st.sampled_from(["a", "b", "c", "d"])


class Journeys(RuleBasedStateMachine):
    """Whatever comes, the history says of each channel what a list of all events would say."""

    watchers = Bundle("watchers")

    def __init__(self) -> None:
        super().__init__()
        self.hub: Hub[Any] = Hub(History(12, 2000))
        self.hub.reset("e", 1)
        self.all: list[bytes] = []
        self.seen: dict[tuple[str, int], list[int]] = {}
        self.from_: dict[tuple[str, int], int] = {}
        self.count = 0
        self.referee = Referee()
        self.settled: dict[str, int] = {}  # task → offset of the event that made its current state

    @rule(target=watchers, channel=st.sampled_from([ALL, "task:a", "name:n", "tag:t", "root:b"]))
    def watch(self, channel: str) -> tuple[str, int]:
        self.count += 1
        watcher = (channel, self.count)
        self.seen[watcher], self.from_[watcher] = [], self.hub.history.last
        self.hub.watch(channel, watcher)
        return watcher

    @rule(watcher=watchers)
    def unwatch(self, watcher: tuple[str, int]) -> None:
        self.hub.unwatch(watcher[0], watcher)
        self.from_.pop(watcher, None)

    @rule(
        told=st.lists(
            st.builds(
                line,
                IDS,
                st.sampled_from(["PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE"]),
                st.integers(1, 9).map(float),
                name=st.sampled_from(["n", "m"]),
                retries=st.integers(0, 1),
                sent=st.sampled_from([None, 1.0, 2.0]),
                run=st.sampled_from([None, "r1", "r2"]),
                root_id=IDS,
                tags=st.sampled_from([None, ("t",)]),
            ),
            max_size=9,
        )
    )
    def publish(self, told: list[bytes]) -> None:
        told = [self.as_the_journal_has_it(each) for each in told]
        self.hub.publish(told)
        handed = [(watcher, part) for parts, watchers in self.hub.flush() for watcher in watchers for part in parts]
        for watcher, part in handed:
            assert part.channel == watcher[0]
            self.seen[watcher] += [offset for offset, _ in part.events]

    def as_the_journal_has_it(self, told: bytes) -> bytes:
        """The journal's script marks what stands behind its task's state."""
        event = decode(told)
        if self.referee.verdict(event) == "late":
            told = told[:-1] + b',"late":true}'
        else:
            self.settled[event.id] = len(self.all) + 1
        self.all.append(told)
        return told

    def of(self, channel: str) -> list[int]:
        return [
            offset
            for offset, each in enumerate(self.all, start=1)
            if channel == ALL or channel in decode(each).channels()
        ]

    @invariant()
    def watchers_have_seen_everything_since_they_came(self) -> None:
        for watcher, start in self.from_.items():
            assert self.seen[watcher] == [offset for offset in self.of(watcher[0]) if offset > start]

    @invariant()
    def what_is_called_whole_is_whole(self) -> None:
        history = self.hub.history
        for channel in (ALL, "task:a", "name:n", "tag:t", "root:b"):
            truth = self.of(channel)
            for after in range(max(0, history.first - 8), history.last + 1):
                if history.is_whole(channel, after):
                    assert offsets(history, channel, after) == [offset for offset in truth if offset > after]

    @invariant()
    def the_window_has_no_hole_and_the_right_lines(self) -> None:
        history = self.hub.history
        assert history.last == len(self.all)
        assert len(history) <= 12
        for offset in range(history.first, history.last + 1):
            assert history.line(offset) == self.all[offset - 1]

    @invariant()
    def unfinished_tasks_are_known_in_their_right_state(self) -> None:
        for identity in "abcd":
            told = [(at, decode(each)) for at, each in enumerate(self.all, start=1) if decode(each).id == identity]
            truth, found = task_of(told), self.hub.history.task(identity)
            if truth is not None and (not truth.final or self.settled[identity] >= self.hub.history.first):
                assert found is not None
                assert (found.state, found.retries, found.timestamp) == (truth.state, truth.retries, truth.timestamp)

    @invariant()
    def nothing_is_indexed_that_is_gone(self) -> None:
        history = self.hub.history
        for story in history._index.tasks.values():
            assert story
            assert all(history.line(offset) is not None for offset in story)
        for channel, index in history._index.channels.items():
            alive = [offset for offset in index if history.line(offset) is not None]
            assert alive, f"{channel} leads nowhere"
            assert len(index) - len(alive) == index.dead


Journeys.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestJourneys = Journeys.TestCase

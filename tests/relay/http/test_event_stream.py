"""What one reader of server-sent events is given: each event once, in order, and where it may miss some."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import line
from tests.support.sse import Message, Parser
from watcher.core.errors import BadRequest
from watcher.relay.http.event_stream import EventStream, StreamCursor
from watcher.relay.stream.history import ALL, History


def filled(*lines: bytes, events: int = 1000, epoch: str = "e", first: int = 1) -> History:
    history = History(events, 1 << 24)
    history.reset(epoch, first)
    for each in lines:
        history.append(each)
    return history


def given_all(stream: EventStream, limit: int = 1 << 20, parser: Parser | None = None) -> list[Message]:
    """All that it has, as a reader understands it."""
    parser, found = parser or Parser(), list[Message]()
    while piece := stream.next(limit):
        found += parser.all(piece.decode())
    return found


def offsets(messages: list[Message]) -> list[int]:
    return [int(message.id.partition(":")[2]) for message in messages]


def test_an_event_is_its_line_under_its_place() -> None:
    history = filled(line("a"), line("a", "STARTED"))
    (message,) = given_all(EventStream(history, ["task:a"], StreamCursor("e", 1)))
    assert message == Message("message", line("a", "STARTED").decode(), "e:2")


def test_an_event_on_several_channels_comes_once() -> None:
    history = filled(line("a", name="n", tags=("t",)), line("b", name="n"), line("c"))
    stream = EventStream(history, ["tag:t", "task:a", "name:n"], StreamCursor("e", 0))
    assert offsets(given_all(stream)) == [1, 2]
    history.append(line("a", "STARTED", name="n", tags=("t",)))
    assert offsets(given_all(stream)) == [4]
    assert stream.sent == 3


def test_without_a_position_each_task_starts_with_its_newest_event() -> None:
    history = filled(line("a"), line("b"), line("a", "STARTED", 2.0), line("c"), line("a", "RECEIVED", 1.5, late=True))
    parser = Parser()
    stream = EventStream(history, ["task:b", "task:a", "task:nobody", "name:n"], None)
    assert [(m.id, m.json["state"]) for m in given_all(stream, 1, parser)] == [("e:2", "PENDING"), ("e:3", "STARTED")]
    assert parser.last == "e:5"  # where it would go on, though nothing was shown under it
    history.append(line("x"))
    history.append(line("b", "SUCCESS"))
    assert offsets(given_all(stream)) == [7]


def test_other_channels_start_with_what_comes() -> None:
    history = filled(line("a", name="n"))
    parser = Parser()
    stream = EventStream(history, ["name:n", ALL], None)
    assert given_all(stream, parser=parser) == []
    assert parser.last == "e:1"
    history.append(line("b", name="n"))
    assert offsets(given_all(stream)) == [2]


def test_what_only_the_backend_knows_comes_without_a_place() -> None:
    told = line("old", "SUCCESS")
    parser = Parser()
    assert [(m.id, m.json["id"]) for m in given_all(EventStream(filled(), ["task:old"], None, {"task:old": told}))] == [
        ("", "old")
    ]
    meanwhile = filled(line("old", "STARTED"))
    (message,) = given_all(EventStream(meanwhile, ["task:old"], None, {"task:old": told}), parser=parser)
    assert message.id == "e:1"


@pytest.mark.parametrize(
    ("since", "gap"),
    [
        (StreamCursor("e", 50), False),
        (StreamCursor("e", 60), False),
        (StreamCursor("", 50), False),
        (StreamCursor("e", 20), True),
        (StreamCursor("e", 61), True),
        (StreamCursor("", 0), True),
        (StreamCursor("another", 55), True),
    ],
)
def test_stream_reports_a_gap_for_trimmed_events_and_continues(since: StreamCursor, gap: bool) -> None:
    history = filled(*[line(f"t{number}", "SUCCESS") for number in range(60)], events=20)
    parser = Parser()
    stream = EventStream(history, [ALL, "task:t59"], since)
    messages = given_all(stream, parser=parser)
    if gap:
        assert messages[0] == Message("gap", '{"epoch":"e","offset":60}', "")
        assert offsets(messages[1:]) == [60]  # the task's newest
    else:
        assert offsets(messages) == list(range(since.offset + 1, 61))
    history.append(line("live"))
    assert offsets(given_all(stream, parser=parser)) == [61]
    assert parser.last == "e:61"


def test_a_quiet_channel_has_no_gap() -> None:
    history = filled(line("q", name="quiet"), *[line(f"t{n}", "SUCCESS") for n in range(60)], events=20)
    history.append(line("q", "SUCCESS", name="quiet"))
    assert offsets(given_all(EventStream(history, ["name:quiet"], StreamCursor("e", 1)))) == [62]


def test_another_journal_is_a_gap() -> None:
    history = filled(line("a"), line("a", "STARTED", 2.0))
    parser = Parser()
    stream = EventStream(history, ["task:a"], None)
    assert offsets(given_all(stream, parser=parser)) == [2]
    history.reset("f", 1)
    history.append(line("a"))
    gap, newest = given_all(stream, parser=parser)
    assert (gap.kind, newest.id, newest.json["state"]) == ("gap", "f:1", "PENDING")
    history.append(line("a", "SUCCESS"))
    assert offsets(given_all(stream, parser=parser)) == [2]


def test_a_reader_that_the_history_has_gone_past_is_told() -> None:
    history = filled(line("a", "SUCCESS"), events=10)
    stream = EventStream(history, [ALL], StreamCursor("e", 0))
    assert offsets(given_all(stream)) == [1]
    for number in range(50):
        history.append(line(f"t{number}", "SUCCESS"))
    (gap,) = given_all(stream)
    assert (gap.kind, gap.json) == ("gap", {"epoch": "e", "offset": 51})
    history.append(line("live"))
    assert offsets(given_all(stream)) == [52]


def test_idle_tells_how_far_a_quiet_reader_has_come() -> None:
    history = filled(line("a"))
    parser = Parser()
    stream = EventStream(history, ["name:quiet"], None)
    assert given_all(stream, parser=parser) == []
    assert stream.idle() == b":\n"
    history.append(line("b"))
    assert stream.next(100) == b""
    assert list(parser.all(stream.idle().decode())) == []
    assert parser.last == "e:2"
    assert stream.idle() == b":\n"


def test_a_piece_is_bounded() -> None:
    big = "x" * 1000
    history = filled(*[line(f"t{number}", argsrepr=big) for number in range(100)])
    for since in (StreamCursor("e", 0), None):
        stream = EventStream(history, [f"task:t{number}" for number in range(100)], since)
        pieces = []
        while piece := stream.next(10_000):
            pieces.append(len(piece))
        assert len(pieces) >= 10
        assert max(pieces) < 13_000


_STEPS = st.lists(
    st.tuples(st.sampled_from("anrwwww"), st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=60
)


@given(_STEPS)
@settings(max_examples=200, deadline=None)
def test_whoever_comes_back_misses_nothing_and_gets_nothing_twice(steps: list[Any]) -> None:
    """A: events come; n: it reads a piece; r: it loses the connection, and comes back with the last id."""
    history = filled()
    channels = ["name:n0", "tag:t1", "task:x2"]
    parser, found = Parser(), list[Message]()
    stream = EventStream(history, channels, StreamCursor("e", 0))
    expected = []
    for kind, number, limit in steps:
        if kind == "r":
            stream = EventStream(history, channels, StreamCursor.read(parser.last or "e:0", "id"))
        elif kind == "n":
            found += parser.all(stream.next(limit).decode())
            found += parser.all(stream.idle().decode())
        else:
            history.append(line(f"x{number}", name=f"n{limit % 2}", tags=(f"t{number % 2}",)))
            if number == 2 or limit % 2 == 0 or number % 2 == 1:
                expected.append(history.last)
    found += given_all(stream, parser=parser)
    assert offsets(found) == expected


@pytest.mark.parametrize("text", ["", "e", "e:", ":", "e:-1", "e:1.5", "e:x", "e f:1", "é:1", "e:1:2", "e:" + "1" * 19])
def test_a_position_is_read_strictly(text: str) -> None:
    with pytest.raises(BadRequest, match="parameter 'since': expected EPOCH:OFFSET"):
        StreamCursor.read(text, "parameter 'since'")


def test_a_position_is_read() -> None:
    assert StreamCursor.read("1795408395638612:42", "x") == ("1795408395638612", 42)
    assert StreamCursor.read(":0", "x") == ("", 0)

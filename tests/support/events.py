"""Events to test with, by hand and by hypothesis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, Raw

from watcher.core.event import Event, decode, encode
from watcher.core.order import standing
from watcher.journal.layout import Record, entry

_STATES = (
    "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RENDERING", "RETRY",
    "FAILURE", "REVOKED", "REJECTED", "IGNORED", "SUCCESS",
)  # fmt: skip


def event(identity: str, state: str = "PENDING", timestamp: float = 1.0, **fields: Any) -> Event:
    """An event with as little as there must be, and `fields`."""
    return Event(id=identity, state=state, timestamp=timestamp, source="signal", **fields)


def line(identity: str, state: str = "PENDING", timestamp: float = 1.0, **fields: Any) -> bytes:
    """The same as the journal holds it."""
    return encode(event(identity, state, timestamp, **fields))


def record(told: Event) -> Record:
    """The same on its way into the journal."""
    return Record(told.id, standing(told), encode(told))


def stored(raw: Iterable[Any]) -> list[tuple[int, Event]]:
    """The events of the journal's entries as XRANGE gives them, with their offsets."""
    batches = map(entry, raw)
    return [(offset, decode(line)) for batch in batches for offset, line in enumerate(batch.lines, batch.first)]


def life(identity: str, **fields: Any) -> list[Event]:
    """A task's way to SUCCESS."""
    return [
        event(identity, state, float(at), **fields)
        for at, state in enumerate(("PENDING", "RECEIVED", "STARTED", "SUCCESS"), start=1)
    ]


def events(ids: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Event]:
    """Any event."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    value = st.sampled_from([UNSET, Raw(b"null"), Raw(b'{"a":[1,2]}'), Raw(b'"\\ud83d\\ude00"')])
    return st.builds(
        Event,
        id=text if ids is None else ids,
        state=st.sampled_from(_STATES),
        timestamp=st.floats(0, 4e9).map(lambda number: round(number, 6)),
        source=st.sampled_from(["signal", "backend"]),
        name=st.none() | text,
        retries=st.none() | st.integers(0, 5),
        sent=st.none() | st.integers(1, 4).map(float),
        run=st.none() | st.sampled_from(["r1", "r2", "r3"]),
        redelivered=st.none() | st.integers(1, 3),
        root_id=st.none() | text,
        group_id=st.none() | text,
        tags=st.none() | st.tuples(text, text),
        result=value,
        meta=value,
    )

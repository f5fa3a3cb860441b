"""Filters and tasks to test with, and the page's filter language in a Node of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from tests.support.javascript import node
from tests.support.processes import ROOT, environment
from watcher.core.event import Event, ExceptionInfo, Task, is_final

#: The moment at which filters are asked, in Unix seconds: a Monday in summer.
NOW: Final = datetime(2026, 6, 1, 9, 30, 15, 250_000, tzinfo=UTC).timestamp()
_PROGRAM: Final = ROOT / "tests" / "core" / "filters" / "page.mjs"

#: Few texts, so that filters and tasks have some in common, among them those that parsers get wrong.
WORDS: Final = (
    "mail.send", "mail.Send", "mail", "send", "a b", 'a"b', "a\\b", "a*b", "[ab]?", "%", "a_b", "user:42", "http://x/y",
    "-x", "ΣΑΣ", "σας", "İ", "ẞ", "ß", "Straße", "ÄR", "är", "\U0001f600", "x\u3000y", "a\tb", "name:x", "*",
    "web@two@x",
)  # fmt: skip
STATES: Final = (
    "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "REJECTED", "IGNORED", "SUCCESS",
    "RENDERING", "rendering", "RUNNING", "RESTARTED", "step 3",
)  # fmt: skip


class Page:
    """The page's filter language."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, text: str, now: float, tasks: Sequence[Task]) -> dict[str, Any]:
        """What the page makes of a filter: its texts, its span, which tasks pass; or its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"text": text, "now": now, "tasks": tasks}).decode() + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def page(zone: str = "UTC") -> Iterator[Page]:
    """The page's filter language, in a time zone."""
    command = [node(), "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", str(_PROGRAM), str(ROOT / "web")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, env=environment({"TZ": zone}), **pipes) as process:
        try:
            yield Page(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


#: The first and the last are yet to come.
_ETAS: Final = ("2026-06-01T10:00:00+00:00", "2026-06-01T11:00:00+02:00", "soon", "2026-06-01 09:30:16")
_ERRORS: Final = ("ValueError", "shop.CardDeclined", "a.b", "x.")
_word = st.sampled_from(WORDS)
_maybe = st.none() | st.just("") | _word
_named = st.dictionaries(_word, _word, max_size=1)
_moment = st.sampled_from([NOW - age for age in (0, 0.5, 1, 5, 60, 3600, 7200, 40_000, 86_400, 200_000)])


def tasks() -> st.SearchStrategy[Task]:
    """Any task, as the fold makes them or somebody's events may tell."""
    return st.builds(
        _task,
        id=_word,
        state=st.sampled_from(STATES),
        timestamp=_moment,
        name=_maybe,
        hostname=_maybe | st.just("celery@web2"),
        queue=_maybe,
        retries=st.none() | st.integers(0, 1),
        sent=st.none() | _moment,
        eta=st.none() | st.sampled_from(_ETAS),
        root_id=_maybe,
        parent_id=_maybe,
        group_id=_maybe,
        values=st.none() | st.tuples(st.lists(_word | st.integers(0, 99), max_size=2), _named),
        argsrepr=st.none() | st.sampled_from(["()", "(1,)", "[1, 'a b']", "('SEND',)"]),
        kwargsrepr=st.none() | st.sampled_from(["{}", "{'a': 1}"]),
        tags=st.none() | st.tuples(_word, _word),
        runtime=st.none() | st.sampled_from([0.0004, 5.0, 60.0]),
        exception=st.none() | st.builds(ExceptionInfo, st.sampled_from(_ERRORS), _word),
        reason=st.none() | st.sampled_from(["worker_lost", "revoked"]),
        times=st.dictionaries(st.sampled_from(["PENDING", "RECEIVED", "STARTED"]), _moment),
    )  # fmt: skip


def _task(values: tuple[list[Any], dict[str, Any]] | None, times: dict[str, float], **fields: Any) -> Task:
    if values is not None:
        fields |= {
            "args": msgspec.Raw(msgspec.json.encode(values[0])),
            "kwargs": msgspec.Raw(msgspec.json.encode(values[1])),
        }
    final = is_final(fields["state"])
    whole = {**times, fields["state"]: fields["timestamp"]}
    return Task(**fields, source="signal", final=final, offset=1, times=whole)


def lives(chance: Random, count: int) -> list[Event]:
    """The events of so many tasks, each on a way of its own; the first are called as in :data:`WORDS`."""
    ages = (0, 0.5, 1, 5, 60, 3600, 7200, 40_000, 86_400, 200_000)
    events: list[Event] = []
    for number in range(count):
        word: Callable[[], str | None] = lambda: chance.choice((None, "", *WORDS))  # noqa: E731
        error = ExceptionInfo(chance.choice(_ERRORS), chance.choice(WORDS))
        told: dict[str, Any] = {
            "id": WORDS[number] if number < len(WORDS) else f"{chance.choice(WORDS)}-{number}",
            "name": word(), "hostname": chance.choice((word(), "celery@web2")), "queue": word(), "root_id": word(),
            "parent_id": word(), "group_id": word(), "retries": chance.choice((None, 0, 1)),
            "sent": chance.choice((None, NOW - 7200)), "tags": chance.choice((None, (chance.choice(WORDS), "user:42"))),
            "argsrepr": chance.choice((None, "()", "[1, 'a b']")), "kwargsrepr": chance.choice((None, "{'a': 1}")),
        }  # fmt: skip
        if chance.random() < 0.5:
            told |= {"args": msgspec.Raw(b'["a b",1]'), "kwargs": msgspec.Raw(b'{"a":"\xc3\x84R"}')}
        last: dict[str, Any] = {
            "eta": chance.choice((None, *_ETAS)), "reason": chance.choice((None, None, "worker_lost")),
            "exception": chance.choice((None, error)), "runtime": chance.choice((None, 0.0004, 5.0, 60.0)),
        }  # fmt: skip
        states = [state for state in ("PENDING", "RECEIVED", "STARTED") if chance.random() < 0.6]
        *before, end = (*states, chance.choice(STATES))
        events += [Event(state=state, timestamp=NOW - chance.choice(ages), source="signal", **told) for state in before]
        events.append(Event(state=end, timestamp=NOW - chance.choice(ages), source="signal", **told, **last))
    return events

"""A second reading of docs/filters.md: filters as they are meant, how they may be written, and which tasks pass.

It knows nothing of the parser, nor of what it makes: each term is made of its meaning and written in one of its ways.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from tests.support.filters import NOW, STATES, WORDS
from watcher.core.event import Task

Test = Callable[[Task], bool]
_DAY: Final = 86_400
_MIDNIGHT: Final = NOW - NOW % _DAY
_FINAL: Final = {
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "REVOKED": "other",
    "REJECTED": "other",
    "IGNORED": "other",
}
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}


@dataclass(frozen=True)
class Term:
    """One term: how it is written, and of which tasks it holds, or between which moments."""

    key: str
    negated: bool
    written: str
    test: Test | None = None
    moment: Callable[[float | None], float] | None = None

    @property
    def text(self) -> str:
        return f"{'-' if self.negated else ''}{self.key and self.key + ':'}{self.written}"


def passes(terms: Sequence[Term], task: Task) -> bool:
    """Whether a task passes all terms."""
    if not all(_in_time(term, terms, task) for term in terms if term.moment):
        return False
    tested = [(term, term.test(task)) for term in terms if term.test]
    if any(held for term, held in tested if term.negated):
        return False
    wanted = [(term.key, held) for term, held in tested if not term.negated]
    alone = [held for key, held in wanted if key in ("", "runtime", "waited")]
    others = {key: any(held for name, held in wanted if name == key) for key, _ in wanted}
    return all(alone) and all(held for key, held in others.items() if key not in ("", "runtime", "waited"))


def _in_time(term: Term, terms: Sequence[Term], task: Task) -> bool:
    assert term.moment is not None
    if term.key == "until":
        return (task.timestamp < term.moment(None)) is not term.negated
    ends = [other.moment(None) for other in terms if other.moment and other.key == "until" and not other.negated]
    end = min(ends) if ends and not term.negated else None
    return (task.timestamp >= term.moment(end)) is not term.negated


def _kind(task: Task) -> str:
    if task.state in _FINAL:
        return _FINAL[task.state]
    if task.reason == "worker_lost":
        return "lost"
    return "waiting" if task.state in ("PENDING", "RECEIVED", "RETRY") else "running"


def _waits_for(task: Task) -> str | None:
    if _kind(task) != "waiting":
        return None
    if task.state == "RETRY":
        return "retrying"
    return "scheduled" if task.eta in ("2026-06-01T10:00:00+00:00", "2026-06-01 09:30:16") else "queued"


def _fields(key: str, task: Task) -> list[str | None]:
    of_error = task.exception.type if task.exception else None
    fields: dict[str, list[str | None]] = {
        "id": [task.id],
        "name": [task.name],
        "queue": [task.queue],
        "worker": [task.hostname, re.sub(r"^[^@]*@", "", task.hostname or "") or None],
        "tag": list(task.tags or ()),
        "error": [of_error, re.sub(r"^.*\.", "", of_error or "") or None],
        "root": [task.root_id or task.id],
        "parent": [task.parent_id if task.parent_id != task.id else None],
        "group": [task.group_id],
    }
    return fields[key]


def _seconds(key: str, task: Task) -> float | None:
    kind, started, sent = _kind(task), task.times.get("STARTED"), task.times.get("PENDING")
    if key == "runtime":
        if kind == "running":
            return None if started is None else max(0.0, NOW - started)
        if kind in ("waiting", "lost"):
            return None
        if task.runtime is not None:
            return task.runtime
        return None if started is None else max(0.0, task.timestamp - started)
    if task.state == "RETRY" and kind == "waiting":
        return max(0.0, NOW - task.timestamp)
    if sent is None and not task.retries:
        sent = task.sent
    end = NOW if kind == "waiting" else started
    return None if sent is None or end is None else max(0.0, end - sent)


def _shown(task: Task) -> list[str]:
    call = task.name or ""
    if task.args and task.kwargs:
        values = [
            json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in json.loads(bytes(task.args))
        ]
        named = json.loads(bytes(task.kwargs))
        values += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in named.items()]
        call += f"({', '.join(values)})"
    elif task.argsrepr is not None or task.kwargsrepr is not None:
        inner = {"()": "", "(1,)": "1", "[1, 'a b']": "1, 'a b'", "('SEND',)": "'SEND'", None: ""}[task.argsrepr]
        named = {"{}": "", "{'a': 1}": "**{'a': 1}", None: ""}[task.kwargsrepr]
        call += f"({', '.join(part for part in (inner, named) if part)})"
    return [
        task.id,
        call,
        *(task.tags or ()),
        *([task.exception.type, task.exception.message] if task.exception else []),
    ]


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _glob(key: str, parts: list[str], in_quotes: list[bool]) -> tuple[str, Test]:
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)

    def test(task: Task) -> bool:
        return any(value and pattern.fullmatch(value) for value in _fields(key, task))

    written = [
        _quoted(part) if (needed and part) or re.search(r'[\s"*]', part) else part
        for part, needed in zip(parts, in_quotes * len(parts), strict=False)
    ]
    return "*".join(written), test


@st.composite
def _glob_term(draw: st.DrawFn, negated: bool) -> Term:
    key = draw(st.sampled_from(["id", "name", "queue", "worker", "tag", "error", "root", "parent", "group"]))
    text = draw(
        st.sampled_from([*WORDS, "web2", "celery@web2", "CardDeclined", "shop.CardDeclined", "ValueError", "two@x"])
    )
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[begin:end] for begin, end in zip([0, *cuts[1::2]], [*cuts[::2], len(text)], strict=False)]
    if parts == [""]:
        parts = [text]
    written, test = _glob(key, parts, [draw(st.booleans())])
    return Term(key, negated, written, test)


@st.composite
def _state_term(draw: st.DrawFn, negated: bool) -> Term:
    kinds = ("waiting", "running", "lost", "succeeded", "failed", "other")
    name = draw(
        st.sampled_from([*kinds, "queued", "scheduled", "retrying", *STATES, "rendering", '"RENDERING"', '"rendering"'])
    )
    known = ("PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", *_FINAL)
    if name.upper() in known:
        written = draw(st.sampled_from([name, name.lower(), name.title(), f'"{name}"']))
        return Term("state", negated, written, lambda task: task.state == name)
    if name in kinds:
        return Term("state", negated, draw(st.sampled_from([name, name.upper()])), lambda task: _kind(task) == name)
    if name in ("queued", "scheduled", "retrying"):
        return Term("state", negated, name, lambda task: _waits_for(task) == name)
    if name == "rendering":
        return Term("state", negated, name, lambda task: task.state in ("rendering", "RENDERING"))
    exact = name.strip('"')
    return Term("state", negated, f'"{exact}"', lambda task: task.state == exact)


@st.composite
def _words_term(draw: st.DrawFn, negated: bool) -> Term:
    words = draw(st.sampled_from([*WORDS, "1, ", "'a b'", "(", "send(", "decl", "SEND", "**{", "\U0001f600"]))
    bare = not re.search(r'[\s"]|^-|^\w+:(?!//)', words) and draw(st.booleans())

    def test(task: Task) -> bool:
        needle = words.lower().replace("ς", "σ")
        return any(needle in part.lower().replace("ς", "σ") for part in _shown(task))

    return Term("", negated, words if bare else _quoted(words), test)


@st.composite
def _bound_term(draw: st.DrawFn, negated: bool) -> Term:
    key = draw(st.sampled_from(["runtime", "waited"]))
    operator = draw(st.sampled_from([">", ">=", "<", "<="]))
    written, length = draw(
        st.sampled_from([("5s", 5), ("0.4ms", 0.0004), ("1m", 60), ("1h59m60s", 7200), ("1d", _DAY)])
    )

    def test(task: Task) -> bool:
        seconds = _seconds(key, task)
        return seconds is not None and {
            ">": seconds > length, ">=": seconds >= length, "<": seconds < length, "<=": seconds <= length,
        }[operator]  # fmt: skip

    return Term(key, negated, f"{operator}{written}", test)


@st.composite
def _moment_term(draw: st.DrawFn, negated: bool) -> Term:
    key = draw(st.sampled_from(["since", "until"]))
    kind = draw(st.sampled_from(["ago", "clock", "date", "absolute"]))
    if kind == "ago":
        number, unit = draw(
            st.sampled_from([(2, "h"), (90, "m"), (0, "s"), (0.5, "s"), (1, "d"), (1, "w"), (1000, "ms")])
        )
        ago = NOW - number * _UNITS[unit]
        return Term(key, negated, f"{number}{unit}", moment=lambda _: ago)
    if kind == "clock":
        hour, minute, second = draw(st.sampled_from([(8, 30, 0), (9, 30, 15), (9, 30, 16), (22, 0, 0), (0, 0, 0)]))
        days = [_MIDNIGHT + day * _DAY + hour * 3600 + minute * 60 + second for day in range(-9, 2)]
        written = f"{hour}:{minute:02}:{second:02}" if second or draw(st.booleans()) else f"{hour:02}:{minute:02}"
        return Term(
            key, negated, written, moment=lambda end: max(at for at in days if (at <= NOW if end is None else at < end))
        )
    if kind == "date":
        ahead = draw(st.integers(-2, 1))
        day = _MIDNIGHT + ahead * _DAY
        written = {-2: "2026-05-30", -1: "2026-05-31", 0: "2026-06-01", 1: "2026-06-02"}[ahead]
        return Term(key, negated, written, moment=lambda _: day + (_DAY if key == "until" else 0))
    written = draw(
        st.sampled_from(
            ["2026-06-01T07:30:15.250Z", "2026-06-01T09:30:15.25+02:00", "2026-06-01T07:30:15.25",
             '"2026-06-01 07:30:15.250000z"',
             "2026-06-01T02:00:15.250-0530", f"{NOW - 7200}"]
        )
    )  # fmt: skip
    return Term(key, negated, written, moment=lambda _: NOW - 7200)


def terms() -> st.SearchStrategy[list[Term]]:
    """Any filter, as what it means."""
    makers: list[Any] = [_glob_term, _glob_term, _state_term, _words_term, _bound_term, _moment_term]
    one = st.booleans().flatmap(lambda negated: st.sampled_from(makers).flatmap(lambda make: make(negated)))
    return st.lists(one, max_size=4)

"""Tasks as CSV, for spreadsheets: the same file from the relay and on the command line. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Raw

from watcher.core.event import Task

__all__ = ["COLUMNS", "header", "rows"]

#: Of a row of CSV: fields of a task, by the names that docs/protocol.md has for them, and what is taken out of others.
COLUMNS: Final = (
    "id", "name", "state", "reason", "queue", "hostname", "retries", "sent", "received", "started", "ended",
    "timestamp", "runtime", "exception", "message", "tags", "args", "kwargs", "result", "root_id", "parent_id",
    "group_id",
)  # fmt: skip
#: With one of these at its beginning a spreadsheet takes a cell for a formula, or for a call of another program.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_decoder = msgspec.json.Decoder(Task)


def header() -> bytes:
    """The line that names the columns."""
    return _lines([COLUMNS])


def rows(tasks: Iterable[Raw | bytes]) -> bytes:
    """A row of each task, given as JSON; within a cell there may be line ends.

    :raises msgspec.MsgspecError: it is no task.
    """
    return _lines(_cells(_decoder.decode(task)) for task in tasks)


def _lines(table: Iterable[Iterable[str]]) -> bytes:
    """RFC 4180."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(table)
    return text.getvalue().encode()


def _cells(task: Task) -> list[str]:
    raised, times = task.exception, task.times
    texts = {
        "exception": raised.type if raised else None,
        "message": raised.message if raised else None,
        "tags": " ".join(task.tags or ()),
        "args": task.argsrepr,
        "kwargs": task.kwargsrepr,
    }
    # What these hold can't begin a formula: numbers, moments, and JSON, which begins with none of those but a number.
    plain = {
        "retries": task.retries,
        "runtime": task.runtime,
        "result": bytes(task.result).decode() if isinstance(task.result, Raw) else None,
        "sent": _moment(task.sent),
        "received": _moment(times.get("RECEIVED")),
        "started": _moment(times.get("STARTED")),
        "ended": _moment(task.timestamp if task.final else None),
        "timestamp": _moment(task.timestamp),
    }
    return [
        _text(plain[name]) if name in plain else _inert(_text(texts[name] if name in texts else getattr(task, name)))
        for name in COLUMNS
    ]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _moment(seconds: float | None) -> str | None:
    """ISO 8601, in UTC, as spreadsheets read it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _inert(text: str) -> str:
    """The text, which no spreadsheet takes for a formula: an apostrophe says so to them."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text

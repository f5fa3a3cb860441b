"""What the commands of the client show: lines for events, bars for tasks under way, colours where somebody looks."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from watcher.cli.terminal.columns import cut, cut_start, width
from watcher.client import Snapshot, TaskEvent

__all__ = [
    "json_line", "json_text", "one_line", "painted", "plain", "put", "room_of", "say", "task_json", "task_line",
    "terminal_size", "write",
]  # fmt: skip

_COLORS: Final = {
    "SUCCESS": 32,
    "FAILURE": 31,
    "REJECTED": 31,
    "REVOKED": 33,
    "RETRY": 33,
    "STARTED": 36,
    "PROGRESS": 36,
}
_BAR: Final = 20
#: Longest detail of a line, in characters.
_DETAIL: Final = 200


def say(text: str) -> None:
    """Tell the person at the terminal, on standard error."""
    sys.stderr.write(f"watcher: {text}\n")
    sys.stderr.flush()


def write(line: bytes) -> None:
    """A line of data, on standard output, at once: whoever reads a pipe waits for it."""
    put(line + b"\n")


def put(data: bytes) -> None:
    """Data, on standard output, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def room_of(stream: TextIO) -> int | None:
    """How many columns there are for a table; None where it is no terminal."""
    return terminal_size(stream)[0] if stream.isatty() else None


def terminal_size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal that it is; of what the environment says, where it doesn't tell."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except OSError:
        columns = rows = 0
    guessed = shutil.get_terminal_size()
    return columns or guessed.columns, rows or guessed.lines


def plain(text: str) -> str:
    """``text`` without anything that a terminal would obey: what tasks are called and raise is not to be trusted."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(value: Any) -> bytes:
    """``value`` as a line of JSON in which a terminal finds nothing to obey."""
    return _escaped(json.dumps(value, ensure_ascii=False)).encode()


def _escaped(text: str) -> str:
    """JSON, with escapes (RFC 8259, 7) for what isn't printed: JSON itself lets C1 controls and overrides through."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def json_line(event: TaskEvent) -> bytes:
    """An event with its place, as a line of JSON; its own bytes are unchanged, but where somebody looks."""
    channel = json.dumps(event.channel).encode()
    return b'{"epoch":%s,"offset":%d,"channel":%s,"data":%s}' % (
        json.dumps(event.epoch).encode(), event.offset, channel, task_json(event.line),
    )  # fmt: skip


def task_json(line: bytes) -> bytes:
    """A task's JSON as a line; its own bytes are unchanged, but where somebody looks."""
    return _escaped(line.decode()).encode() if sys.stdout.isatty() else line


def _is_colored(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _state(state: str, stream: TextIO) -> str:
    return _in_color(state, f"{plain(state):<8}", stream)


def painted(state: str, text: str) -> str:
    """``text`` in the colour of a state, where standard output is a terminal and colours are wanted."""
    return _in_color(state, text, sys.stdout)


def _in_color(state: str, text: str, stream: TextIO) -> str:
    return f"\x1b[{_COLORS[state]}m{text}\x1b[0m" if state in _COLORS and _is_colored(stream) else text


def one_line(event: TaskEvent) -> str:
    """An event for people: when, state, name, id, and what there is to say of it."""
    when = datetime.fromtimestamp(event.timestamp, UTC)
    stamp = (
        when.astimezone().strftime("%H:%M:%S.%f")[:-3] if sys.stdout.isatty() else when.isoformat("T", "milliseconds")
    )
    late = "late" if event.data.get("late") else ""
    parts = (stamp, _state(event.state, sys.stdout), plain(event.name or "-"), plain(event.id), detail(event), late)
    return " ".join(part for part in parts if part)


def detail(record: TaskEvent | Snapshot) -> str:
    """What there is to say of a state: result, meta, what was raised."""
    data = record.data
    text = ""
    if "result" in data:
        text = json.dumps(data["result"], ensure_ascii=False)
    elif record.exception:
        text = f"{record.exception.get('type', '')}: {record.exception.get('message', '')}"
    elif record.state not in ("PENDING", "RECEIVED", "STARTED") and record.meta is not None:
        text = json.dumps(record.meta, ensure_ascii=False)
    elif record.reason:
        text = record.reason
    elif record.state == "PENDING":
        text = f"{data.get('argsrepr', '')} {data.get('kwargsrepr', '')}".strip()
    text = plain(text)
    return text if len(text) <= _DETAIL else f"{text[: _DETAIL - 1]}…"


def task_line(event: TaskEvent, began: float, columns: int) -> str:
    """A task under way in a line: name, id, state, bar where it tells how far it is, and since when it is watched.

    Of more than so many columns the name loses its beginning first: the bar is what people look at.
    """
    name, lost = plain(event.name or "task"), event.reason == "worker_lost" and not event.ends
    parts = [plain(event.id)[:8], "LOST" if lost else _state(event.state, sys.stderr)]
    if not lost and (share := _share(event.meta)) is not None:
        full = round(share * _BAR)
        parts.append(f"[{'#' * full}{'-' * (_BAR - full)}] {share:4.0%}")
    if not lost:  # nobody works on it, though another worker may still get it
        parts.append(f"{time.monotonic() - began:.1f} s")
    rest = " ".join(parts)
    room = max(columns - width(rest) - 1, 0)
    return cut(f"{cut_start(name, room)} {rest}".lstrip(), columns)


def _share(meta: Any) -> float | None:
    if not isinstance(meta, dict):
        return None
    current, total = meta.get("current"), meta.get("total")
    if not isinstance(current, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return min(1.0, max(0.0, current / total))

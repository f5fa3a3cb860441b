"""What a relay counts: plain integers that are added to where something happens, and read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

__all__ = ["LIMITS", "ArchiveFigures", "Load", "Stats"]

#: The settings that limit clients.
LIMITS: Final = (
    "max_connections", "max_connections_per_address", "max_message", "max_subscriptions", "max_calls", "max_commands",
    "max_commands_per_address", "max_subscriptions_per_address", "max_submissions",
    "max_body", "max_path", "max_headers", "max_header_bytes",
    "header_timeout", "body_timeout", "connect_timeout",
)  # fmt: skip


@dataclass(slots=True)
class Stats:
    """Since the relay was started; ``waiting``, ``streams`` and ``streams_behind`` are what there is now.

    :param events: taken from the journal; ``invalid`` of them were none.
    :param delivered: events handed to WebSocket clients, and ``writes`` how many writes that took.
    :param streamed: events handed to readers of server-sent events.
    :param waiting: requests that wait for a task's end.
    :param submissions: how they ended: ``accepted``, or the name of the problem.
    :param refused: requests and calls by the name of the problem.
    :param responses: HTTP answers by status.
    :param limits: how often each limit was reached, by the name of its setting.
    """

    events: int = 0
    invalid: int = 0
    delivered: int = 0
    writes: int = 0
    streamed: int = 0
    streams: int = 0
    streams_behind: int = 0
    waiting: int = 0
    submissions: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    responses: Counter[int] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LIMITS, 0)))


class ArchiveFigures(NamedTuple):
    """What there is to tell of the archive.

    :param behind: events that the journal is ahead. ``applied``: events that this relay has written.
    :param errors: attempts to write that failed. ``gaps``: times of which events are missing.
    :param skipped: how often what came of a task was left out, since the database refuses it.
    :param writes: whether this relay is the one that writes. ``trouble``: why it can't tell all; None where it can.
    """

    behind: int
    applied: int
    errors: int
    gaps: int
    skipped: int
    writes: bool
    trouble: str | None


class Load(NamedTuple):
    """What there is at this moment.

    :param behind: clients that are fed from the history, because they read slower than events come.
    :param submitting: submissions that were not answered yet.
    :param completed: events that the safety net has appended; ``nets``: whether this relay is the one that does.
    :param stale: of the files that are followed, by the setting that names them: whether they have changed and can't be
        taken.
    """

    connections: int
    subscriptions: int
    behind: int
    submitting: int
    redis: bool
    completed: int
    nets: bool
    stale: Mapping[str, bool]
    archive: ArchiveFigures

"""Requests and answers of the HTTP API: the types and tables that read, write and document them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from watcher.core.event import CHANNEL_LIMIT, Task
from watcher.relay.api.signature import Registered

__all__ = [
    "CHANNELS",
    "EVENTS",
    "LAST_OFFSET",
    "LIST",
    "LONGEST_WAIT",
    "MOST_TASKS",
    "POSITION",
    "USUAL_TASKS",
    "WAIT",
    "Nothing",
    "Problem",
    "QueryParameter",
    "Registry",
    "RevokeRequest",
    "Status",
    "TaskList",
]

#: Longest time that a request waits for a task, in seconds.
LONGEST_WAIT: Final = 60.0
#: Tasks on a page: the default, and the maximum.
USUAL_TASKS: Final = 100
MOST_TASKS: Final = 1000
#: Greatest offset: it is a signed 64-bit integer wherever it is stored.
LAST_OFFSET: Final = 2**63 - 1
#: Most channels of one event stream.
CHANNELS: Final = 100


class RevokeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to revoke a task; ``terminate`` also ends it if it is running."""

    terminate: bool = False


class TaskList(msgspec.Struct):
    """Tasks, most recent event first, as of ``offset`` of ``epoch``; ``before=NEXT`` gets the next page."""

    tasks: list[Task]
    epoch: str
    offset: int
    next: int | None


class Registry(msgspec.Struct):
    """The tasks that you may submit, and whether you may revoke tasks."""

    tasks: list[Registered]
    revoke: bool


class Status(msgspec.Struct):
    """The relay is well."""

    status: Literal["ok", "ready"]


class Nothing(msgspec.Struct):
    """An empty object."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was refused or can't be carried out now (RFC 9457).

    ``type`` and ``title`` are the kind of problem, ``detail`` describes it. ``argument`` names the argument or option
    at fault, ``submitted`` says whether the task may have been queued anyway, ``id`` names the task that prevented
    another.
    """

    type: str
    title: str
    status: int
    detail: str
    argument: str | None = None
    submitted: Literal["no", "unknown"] | None = None
    id: str | None = None


class QueryParameter(NamedTuple):
    """A query parameter.

    :param schema: JSON schema of its value; of each value, if it may be repeated.
    :param repeated: how often it may be given.
    """

    meaning: str
    schema: Mapping[str, Any]
    repeated: int = 1
    required: bool = False


_TEXT: Final = {"type": "string", "minLength": 1}
POSITION: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{0,64}:[0-9]{1,18}$"}

LIST: Final = {
    "state": QueryParameter("Only tasks in this state; if repeated, in any of these states.", _TEXT, repeated=100),
    "name": QueryParameter("Only tasks with this registered name.", _TEXT),
    "tag": QueryParameter("Only tasks with this tag.", _TEXT),
    "root": QueryParameter("Only tasks whose root task has this id.", _TEXT),
    "group": QueryParameter("Only tasks of the group with this id.", _TEXT),
    "limit": QueryParameter(
        "Maximum number of tasks.", {"type": "integer", "minimum": 1, "maximum": MOST_TASKS, "default": USUAL_TASKS}
    ),
    "before": QueryParameter(
        "Continue here: `next` of the previous page.", {"type": "integer", "minimum": 0, "maximum": LAST_OFFSET}
    ),
}
WAIT: Final = {
    "wait": QueryParameter(
        f"Answer when the task has ended, or after this many seconds, at most {LONGEST_WAIT:g}.",
        {"type": "number", "minimum": 0},
    )
}
EVENTS: Final = {
    "channel": QueryParameter(
        "Events of this channel; if repeated, of any of these channels.",
        {"type": "string", "pattern": "^(tasks|(task|root|group|name|tag):.+)$", "maxLength": CHANNEL_LIMIT},
        repeated=CHANNELS,
        required=True,
    ),
    "since": QueryParameter("Continue after this event, unless the header `Last-Event-ID` is given.", POSITION),
}

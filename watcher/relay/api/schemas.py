"""What requests and answers over HTTP look like: read, written and documented by the same types and tables. Pure."""

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

#: A request waits for a task no longer than this, in seconds.
LONGEST_WAIT: Final = 60.0
#: Tasks on a page, if nothing else is asked for, and at most.
USUAL_TASKS: Final = 100
MOST_TASKS: Final = 1000
#: No offset is greater: it is an integer of 64 bits wherever it is kept.
LAST_OFFSET: Final = 2**63 - 1
#: Channels of one stream of events, at most.
CHANNELS: Final = 100


class RevokeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to revoke a task; ``terminate`` also ends it where it is running."""

    terminate: bool = False


class TaskList(msgspec.Struct):
    """Tasks, the one with the newest event first, as of ``offset`` of ``epoch``; go on with ``before=NEXT``."""

    tasks: list[Task]
    epoch: str
    offset: int
    next: int | None


class Registry(msgspec.Struct):
    """The tasks that may be submitted, and whether tasks may be revoked."""

    tasks: list[Registered]
    revoke: bool


class Status(msgspec.Struct):
    """That all is well."""

    status: Literal["ok", "ready"]


class Nothing(msgspec.Struct):
    """An object without anything in it."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was wrong with a request, or why it can't be carried out just now (RFC 9457).

    ``type`` and ``title`` say what kind of problem it is, ``detail`` what exactly. ``argument`` names the argument or
    option at fault, ``submitted`` says whether the task may have been queued all the same, ``id`` names the task that
    stands in the way of another.
    """

    type: str
    title: str
    status: int
    detail: str
    argument: str | None = None
    submitted: Literal["no", "unknown"] | None = None
    id: str | None = None


class QueryParameter(NamedTuple):
    """A parameter of a query.

    :param schema: of its value; of each value where it may be ``repeated`` so often.
    """

    meaning: str
    schema: Mapping[str, Any]
    repeated: int = 1
    required: bool = False


_TEXT: Final = {"type": "string", "minLength": 1}
POSITION: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{0,64}:[0-9]{1,18}$"}

LIST: Final = {
    "state": QueryParameter("only tasks in this state; of several, in any of them", _TEXT, repeated=100),
    "name": QueryParameter("only tasks of this registered name", _TEXT),
    "tag": QueryParameter("only tasks with this tag", _TEXT),
    "root": QueryParameter("only tasks whose root has this id", _TEXT),
    "group": QueryParameter("only tasks of this group", _TEXT),
    "limit": QueryParameter(
        "so many tasks at most", {"type": "integer", "minimum": 1, "maximum": MOST_TASKS, "default": USUAL_TASKS}
    ),
    "before": QueryParameter(
        "go on there: `next` of the page before", {"type": "integer", "minimum": 0, "maximum": LAST_OFFSET}
    ),
}
WAIT: Final = {
    "wait": QueryParameter(
        f"answer when the task is final or after so many seconds, {LONGEST_WAIT:g} at most",
        {"type": "number", "minimum": 0},
    )
}
EVENTS: Final = {
    "channel": QueryParameter(
        "events of this channel; of several, of any of them",
        {"type": "string", "pattern": "^(tasks|(task|root|group|name|tag):.+)$", "maxLength": CHANNEL_LIMIT},
        repeated=CHANNELS,
        required=True,
    ),
    "since": QueryParameter("go on after this event, unless the header `Last-Event-ID` says where", POSITION),
}

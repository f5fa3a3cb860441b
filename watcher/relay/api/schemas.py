"""Requests and answers of the HTTP API: the types and tables that read, write and document them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from watcher.core.event import CHANNEL_LIMIT, Task
from watcher.core.figures import BY, Count, Gap, NameStats
from watcher.core.filters.terms import LONGEST
from watcher.relay.api.signature import Registered

__all__ = [
    "CHANNELS",
    "COUNTS",
    "EVENTS",
    "FORMATS",
    "LIST",
    "LONGEST_WAIT",
    "MOST_BUCKETS",
    "MOST_TASKS",
    "NAMES",
    "POSITION",
    "SERIES",
    "SORTS",
    "USUAL_BUCKETS",
    "USUAL_TASKS",
    "WAIT",
    "Names",
    "Nothing",
    "Overview",
    "Problem",
    "QueryParameter",
    "Rates",
    "Registry",
    "RevokeRequest",
    "Status",
    "TaskCounts",
    "TaskList",
]

#: Longest time that a request waits for a task, in seconds.
LONGEST_WAIT: Final = 60.0
#: Tasks on a page: the default, and the maximum.
USUAL_TASKS: Final = 100
MOST_TASKS: Final = 1000
#: Most channels of one event stream.
CHANNELS: Final = 100
#: What a list can be sorted by; always descending.
SORTS: Final = ("when", "sent", "runtime", "waited")
#: What a list can be written in.
FORMATS: Final = ("json", "csv", "ndjson")
#: Buckets of a series: the default, and the maximum.
USUAL_BUCKETS: Final = 60
MOST_BUCKETS: Final = 500


class RevokeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """How to revoke a task; ``terminate`` also ends it if it is running."""

    terminate: bool = False


class TaskList(msgspec.Struct):
    """Tasks, most recent event first unless sorted otherwise, as of ``offset`` of ``epoch``.

    ``before=NEXT`` gets the next page. ``since``: Unix seconds back to which all tasks are known; null where that is as
    long as the journal has been there. ``gaps``: times of which some may be missing. ``archive``: why the list has only
    what the journal holds; null where it has all that is known.
    """

    tasks: list[Task]
    epoch: str
    offset: int
    next: int | str | None
    since: float | None = None
    gaps: list[Gap] = []
    archive: str | None = None


class TaskCounts(msgspec.Struct, frozen=True):
    """How many tasks there are, as of ``offset`` of ``epoch``: in all, and by what was asked for, most first.

    ``more``: whether there are further rows, which are left out.
    """

    total: int
    counts: list[Count]
    more: bool
    epoch: str
    offset: int


class Names(msgspec.Struct, frozen=True):
    """Task names, the one with most tasks first."""

    names: list[NameStats]


class Rates(msgspec.Struct, frozen=True):
    """What happened in the last minute: how many tasks were sent, and how many ended and how."""

    sent: int
    succeeded: int
    failed: int
    other: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks there are by state and by kind, and in all; what happened lately; and how far back that goes.

    ``since`` and ``archive`` as those of a :class:`TaskList`.
    """

    states: Mapping[str, int]
    kinds: Mapping[str, int]
    total: int
    rates: Rates
    since: float | None
    archive: str | None


class Registry(msgspec.Struct):
    """The tasks that you may submit, and whether you may revoke tasks."""

    tasks: list[Registered]
    revoke: bool


class Status(msgspec.Struct, omit_defaults=True):
    """The relay serves; ``detail`` says what of it is less than usual, where it is ``degraded``."""

    status: Literal["ok", "ready", "degraded"]
    detail: str | None = None


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
    :param expected: what a value looks like, for whoever gave one that doesn't match the schema's pattern.
    """

    meaning: str
    schema: Mapping[str, Any]
    repeated: int = 1
    required: bool = False
    expected: str = ""


_TEXT: Final = {"type": "string", "minLength": 1}
_FILTER: Final = QueryParameter(
    "Only tasks that match this filter, such as `state:failed name:mail.* since:2h`.",
    {"type": "string", "maxLength": LONGEST},
)
_BY: Final = "|".join(BY)
POSITION: Final = {"type": "string", "pattern": "^[A-Za-z0-9._-]{0,64}:[0-9]{1,18}$"}

LIST: Final = {
    "filter": _FILTER,
    "format": QueryParameter(
        "`csv` and `ndjson` (JSON, a task a line) answer with all tasks, not with a page; so does the header `Accept`.",
        {"type": "string", "enum": FORMATS},
    ),
    "sort": QueryParameter(
        "What comes first: the newest event (`when`, which is usual), the last sent (usual for files), the longest "
        "runtime or wait.",
        {"type": "string", "enum": SORTS},
    ),
    "state": QueryParameter("Only tasks in this state; if repeated, in any of these states.", _TEXT, repeated=100),
    "name": QueryParameter("Only tasks with this registered name.", _TEXT),
    "tag": QueryParameter("Only tasks with this tag.", _TEXT),
    "root": QueryParameter("Only tasks whose root task has this id.", _TEXT),
    "group": QueryParameter("Only tasks of the group with this id.", _TEXT),
    "limit": QueryParameter(
        "Maximum number of tasks.", {"type": "integer", "minimum": 1, "maximum": MOST_TASKS, "default": USUAL_TASKS}
    ),
    "before": QueryParameter(
        "Continue here: `next` of the previous page.",
        {"type": "string", "pattern": "^([0-9]{1,18}|[0-9.e+-]{1,30}~[0-9]{1,18})$"},
        expected="`next` of the previous page",
    ),
}
COUNTS: Final = {
    "filter": _FILTER,
    "by": QueryParameter(
        f"What tasks are counted by, one or two of {', '.join(BY)}, separated by a comma; if absent, they are counted "
        "together.",
        {"type": "string", "pattern": f"^({_BY})(,({_BY}))?$"},
        repeated=2,
        expected=f"one or two of {', '.join(BY)}, separated by a comma",
    ),
}
_MOMENT: Final = {"type": "string", "minLength": 1, "maxLength": 40}
SERIES: Final = {
    "filter": _FILTER,
    "since": QueryParameter("From when, as in a filter; an hour ago if absent.", _MOMENT),
    "until": QueryParameter("Until when, as in a filter; until now if absent.", _MOMENT),
    "buckets": QueryParameter(
        "How many equal parts the time has.",
        {"type": "integer", "minimum": 1, "maximum": MOST_BUCKETS, "default": USUAL_BUCKETS},
    ),
}
NAMES: Final = {
    "filter": _FILTER,
    "since": QueryParameter("Only of tasks that have changed since then, as in a filter.", _MOMENT),
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
        {"type": "string", "pattern": "^(tasks|overview|(task|root|group|name|tag):.+)$", "maxLength": CHANNEL_LIMIT},
        repeated=CHANNELS,
        required=True,
    ),
    "since": QueryParameter("Continue after this event, unless the header `Last-Event-ID` is given.", POSITION),
}

"""What a client asks for when it submits: its JSON, strictly read, and the options that it may set.

Pure. What a client may not set (headers, exchange, serializer, …) is refused by name rather than passed over: someone
who misspells an option should hear of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

import msgspec

from watcher.core.errors import BadArguments, BadRequest

__all__ = [
    "MAX_KEY",
    "MAX_TAGS",
    "OPTIONS",
    "Option",
    "Options",
    "Submission",
    "SubmissionRequest",
    "check_key",
    "parse",
]

#: Longest idempotency key, in characters.
MAX_KEY: Final = 255
#: Most tags of a task, and the longest one in characters: ``tag:`` and it make a channel's name.
MAX_TAGS: Final = 64
_LONGEST_TAG: Final = 251
#: How names begin, and end, that are none of a queue for tasks: of kombu's, Celery's and watcher's own keys, of the
#: queues of events, of native delayed delivery and of remote control, and what AMQP keeps for brokers.
_RESERVED: Final = ("_kombu.", "unacked", "celery-task", "chord-", "{", "celeryev", "celery_delayed_", "amq.")
_RESERVED_END: Final = ".pidbox"
#: The longest name of a queue in AMQP 0-9-1, in bytes.
_LONGEST_QUEUE: Final = 255
_TASK_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}")


class SubmissionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A task to be submitted: its registered name, its arguments, and how it is to be sent."""

    task: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the task is to be sent; None and empty where the client said nothing. Moments are aware."""

    task_id: str | None = None
    queue: str | None = None
    eta: datetime | None = None
    expires: datetime | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """One request to submit a task; ``stated`` is what it says of the options."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: Options
    stated: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The same for two requests that ask for the same, whatever their white space and order of keys, or their id.

        It takes longer than all the rest: of what is refused it isn't asked.
        """
        options = {name: value for name, value in self.stated.items() if name != "task_id"}
        text = json.dumps([self.task, self.args, self.kwargs, options], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def parse(data: bytes, now: datetime, zone: tzinfo) -> Submission:
    """Read a submission.

    :param data: JSON text, ``{"task", "args"?, "kwargs"?, "options"?}``.
    :param now: what ``countdown`` and a relative ``expires`` count from; aware.
    :param zone: of moments that come without one.
    :raises BadRequest: it is malformed.
    :raises BadArguments: an option is not accepted; names it.
    """
    try:
        request = msgspec.json.decode(data, type=SubmissionRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f'expected {{"task", "args"?, "kwargs"?, "options"?}}: {error}') from None
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    if not request.task:
        raise BadRequest("the task name is empty")
    options = _options(request.options, now, zone)
    return Submission(request.task, request.args, request.kwargs, options, request.options)


def check_key(key: str) -> str:
    """An idempotency key as a client gave it.

    :raises BadRequest: it is empty, too long, or not printable ASCII.
    """
    if not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise BadRequest(f"an idempotency key must have 1 to {MAX_KEY} printable ASCII characters")
    return key


def _options(options: Mapping[str, Any], now: datetime, zone: tzinfo) -> Options:
    read: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise _refuse(name, f"is unknown; accepted are {', '.join(OPTIONS)}")
        if value is not None:
            read[name] = OPTIONS[name].read(name, value)
    if "countdown" in read and "eta" in read:
        raise _refuse("countdown", "and 'eta' exclude each other")
    if "countdown" in read:
        read["eta"] = read.pop("countdown")
    for name in ("eta", "expires"):
        if name in read:
            read[name] = _moment(name, read[name], now, zone)
    return Options(**read)


def _moment(name: str, value: timedelta | datetime, now: datetime, zone: tzinfo) -> datetime:
    try:
        if isinstance(value, timedelta):
            return (now + value).astimezone(zone)
        return value if value.tzinfo else value.replace(tzinfo=zone)
    except (OverflowError, ValueError):
        raise _refuse(name, "is too far in the future") from None


def _task_id(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _TASK_ID.fullmatch(value):
        raise _refuse(name, "must have 1 to 200 of the characters A-Z a-z 0-9 . _ : -")
    return value


def _queue(name: str, value: Any) -> str:
    # On a Redis a queue is a key of its name, beside those of kombu, Celery and watcher.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _refuse(name, "must be the name of a queue")
    if len(value.encode()) > _LONGEST_QUEUE:
        raise _refuse(name, f"must be the name of a queue, of at most {_LONGEST_QUEUE} bytes")
    if value.startswith(_RESERVED) or value.endswith(_RESERVED_END):
        owner = "the broker" if value.startswith("amq.") else "Celery"
        raise _refuse(name, f"must be the name of a queue, but {value!r} is reserved by {owner}")
    return value


def _seconds(name: str, value: Any) -> timedelta:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise _refuse(name, "must be a number of seconds, 0 or more")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise _refuse(name, "is too far in the future") from None


def _iso(name: str, value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _refuse(name, "must be a time in ISO 8601, such as 2030-01-31T12:00:00Z") from None


def _expires(name: str, value: Any) -> timedelta | datetime:
    return _iso(name, value) if isinstance(value, str) else _seconds(name, value)


def _priority(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
        raise _refuse(name, "must be a whole number from 0 to 255")
    return value


def _tags(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise _refuse(name, f"must be a list of at most {MAX_TAGS} strings")
    if not all(isinstance(tag, str) and 0 < len(tag) <= _LONGEST_TAG for tag in value):
        raise _refuse(name, f"must contain strings of 1 to {_LONGEST_TAG} characters")
    return tuple(dict.fromkeys(value))


class Option(NamedTuple):
    """How an option is read and documented: its reader, JSON schema and meaning."""

    read: Callable[[str, Any], Any]
    schema: Mapping[str, Any]
    meaning: str


_SECONDS: Final = {"type": ["number", "null"], "minimum": 0}
OPTIONS: Final = {
    "task_id": Option(
        _task_id,
        {"type": ["string", "null"], "pattern": f"^{_TASK_ID.pattern}$"},
        "Id of the task; a random UUID by default.",
    ),
    "queue": Option(
        _queue,
        {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_KEY},
        "Name of the queue; the app's route by default.",
    ),
    "countdown": Option(_seconds, _SECONDS, "Seconds to wait before the task may run; excludes `eta`."),
    "eta": Option(_iso, {"type": ["string", "null"]}, "Earliest start in ISO 8601; without a time zone, in the app's."),
    "expires": Option(
        _expires,
        {"type": ["number", "string", "null"], "minimum": 0},
        "When the task expires: in seconds from now, or in ISO 8601.",
    ),
    "priority": Option(
        _priority, {"type": ["integer", "null"], "minimum": 0, "maximum": 255}, "Priority of the message."
    ),
    "tags": Option(
        _tags,
        {
            "type": ["array", "null"],
            "items": {"type": "string", "minLength": 1, "maxLength": _LONGEST_TAG},
            "maxItems": MAX_TAGS,
        },
        "Tags by which the task can be watched.",
    ),
}


def _refuse(name: str, why: str) -> BadArguments:
    return BadArguments(f"option {name!r}: {why}", argument=name)

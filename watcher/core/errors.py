"""What can go wrong, as one table: each error knows its code on the WebSocket and its status over HTTP.

Foreign errors are translated to these where they arise; only the edges (session, http, command line) turn them into an
answer. The message is for the person who asked: it names what was wrong and what is accepted.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = [
    "AppError",
    "BadArguments",
    "BadRequest",
    "Conflict",
    "Full",
    "Gone",
    "HeadersTooLarge",
    "NoApp",
    "NoMethod",
    "NoToken",
    "NotPermitted",
    "NotSent",
    "NotSucceeded",
    "PathTooLong",
    "RedisUnreachable",
    "Refused",
    "SettingError",
    "TaskNotFound",
    "TokenExpired",
    "TooLarge",
    "TooMany",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UnknownTask",
    "UnsupportedMediaType",
    "WatcherError",
    "kind",
]


def kind(title: str) -> str:
    """A problem's title as one word."""
    return title.lower().replace(" ", "-")


class WatcherError(Exception):
    """Base of all errors that this project raises on purpose."""


class SettingError(WatcherError):
    """A setting has a value that is not accepted; the program stops at start with this one line.

    :param value: None where it has none, and needs one.
    """

    def __init__(self, name: str, value: object, accepted: str) -> None:
        wrong = f"{name} is not set" if value is None else f"{name}={value!r} is not accepted"
        super().__init__(f"{wrong}: {accepted}")
        self.name = name


class AppError(WatcherError):
    """The Celery app that was named can't be imported, or is none."""


class RedisUnreachable(WatcherError):
    """Redis can't be reached at start."""


class Refused(WatcherError):
    """A request can't be carried out; subclasses say why.

    ``code`` is the Centrifuge protocol's error code, ``status`` the HTTP status, ``title`` the problem's short name,
    ``temporary`` whether the same request may succeed later.
    """

    code: ClassVar[int] = 100
    status: ClassVar[int] = 500
    title: ClassVar[str] = "internal error"
    temporary: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The title as one word: what a problem's ``type`` ends with, and metrics count by."""
        return kind(self.title)


class BadRequest(Refused):
    """The request is malformed: not JSON, a field of the wrong type, a field that there is not."""

    code, status, title = 107, 400, "bad request"


class Unauthorized(Refused):
    """No token, or one that is not valid."""

    code, status, title = 101, 401, "unauthorized"


class NoToken(Unauthorized):
    """There is no token at all, and one is needed."""


class TokenExpired(Unauthorized):
    """The token was valid once; its holder should get a new one."""

    code = 109


class NotPermitted(Refused):
    """The token doesn't grant this, or the relay is configured to refuse it."""

    code, status, title = 103, 403, "permission denied"


class TaskNotFound(Refused):
    """Nobody knows a task of this id, or it may not be seen: the two look alike."""

    code, status, title = 107, 404, "not found"


class NoMethod(Refused):
    """There is no method or address of this name."""

    code, status, title = 104, 404, "not found"


class UnknownTask(Refused):
    """No task of this name is registered with the app."""

    code, status, title = 104, 422, "unknown task"


class BadArguments(Refused):
    """The arguments don't fit the task's signature, or an option isn't accepted.

    :param argument: name of the argument or option at fault, where there is one.
    """

    code, status, title = 107, 422, "arguments do not fit"

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class Conflict(Refused):
    """The task id or idempotency key was used for something else."""

    code, status, title = 107, 422, "already used"


class NotSent(Refused):
    """The task's own code refused to send it, or sent nothing: it is queued already, say.

    :param task_id: of the task that stands in its way, where that code named one.
    """

    code, status, title = 409, 409, "not sent"

    def __init__(self, message: str, *, task_id: str | None = None) -> None:
        super().__init__(message)
        self.task_id = task_id


class TooLarge(Refused):
    """The body of a request is larger than is taken."""

    code, status, title = 107, 413, "too large"


class PathTooLong(Refused):
    """The path of a request is longer than is taken."""

    code, status, title = 107, 414, "path too long"


class HeadersTooLarge(Refused):
    """The headers of a request are larger or more than is taken."""

    code, status, title = 107, 431, "headers too large"


class TooSlow(Refused):
    """A request didn't come in the time that it has."""

    code, status, title = 107, 408, "request timeout"


class UnsupportedMediaType(Refused):
    """The body of a request is said not to be JSON."""

    code, status, title = 107, 415, "unsupported media type"


class NotSucceeded(Refused):
    """The task has no result, or none yet."""

    code, status, title = 107, 409, "no result"


class Gone(Refused):
    """There was a result, and it can't be had."""

    code, status, title = 107, 410, "gone"


class TooMany(Refused):
    """More is asked than the relay does at a time.

    :param retry_after: seconds after which the same would be taken, where that is known.
    """

    code, status, title, temporary = 111, 429, "too many requests", True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Full(Refused):
    """There are as many connections as the relay takes."""

    code, status, title, temporary = 100, 503, "full", True


class NoApp(Refused):
    """The relay runs without a Celery app, so it can neither submit nor revoke."""

    code, status, title = 108, 501, "no Celery app"


class Unavailable(Refused):
    """Broker or Redis is away.

    :param submitted: whether the task may have been queued all the same; None where nothing was being submitted.
    """

    code, status, title, temporary = 100, 503, "unavailable", True

    def __init__(self, message: str, *, submitted: Literal["no", "unknown"] | None = None) -> None:
        super().__init__(message)
        self.submitted = submitted

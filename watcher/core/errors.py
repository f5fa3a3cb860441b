"""All errors as one table: each has its code on the WebSocket and its HTTP status.

Foreign errors are translated to these where they arise; only the edges (session, http, command line) turn them into
answers. The message is for the person who asked: it names what was wrong and what is accepted.
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
    """A problem's title in kebab-case."""
    return title.lower().replace(" ", "-")


class WatcherError(Exception):
    """Base of all errors that this project raises on purpose."""


class SettingError(WatcherError):
    """A setting has an invalid value; the program stops at its start with this one line.

    :param name: the variable or option.
    :param value: its value; None if it is required but not set.
    :param accepted: what is accepted.
    """

    def __init__(self, name: str, value: object, accepted: str) -> None:
        wrong = f"{name} is not set" if value is None else f"{name}={value!r} is not accepted"
        super().__init__(f"{wrong}: {accepted}")
        self.name = name


class AppError(WatcherError):
    """The named Celery app can't be imported, or is not a Celery app."""


class RedisUnreachable(WatcherError):
    """Redis can't be reached at start."""


class Refused(WatcherError):
    """A request is refused; subclasses say why.

    ``code`` is the error code of the Centrifuge protocol, ``status`` the HTTP status, ``title`` the problem's short
    name, ``temporary`` whether the same request may succeed later.
    """

    code: ClassVar[int] = 100
    status: ClassVar[int] = 500
    title: ClassVar[str] = "internal error"
    temporary: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The title in kebab-case: the end of a problem's ``type``, and the label of metrics."""
        return kind(self.title)


class BadRequest(Refused):
    """The request is malformed: invalid JSON, a field of the wrong type, or an unknown field."""

    code, status, title = 107, 400, "bad request"


class Unauthorized(Refused):
    """The token is missing or invalid."""

    code, status, title = 101, 401, "unauthorized"


class NoToken(Unauthorized):
    """The token is missing."""


class TokenExpired(Unauthorized):
    """The token has expired; a new one is required."""

    code = 109


class NotPermitted(Refused):
    """The token does not allow this, or the relay is configured to refuse it."""

    code, status, title = 103, 403, "permission denied"


class TaskNotFound(Refused):
    """No task has this id, or you may not see it: the answer is the same."""

    code, status, title = 107, 404, "not found"


class NoMethod(Refused):
    """There is no such method or address."""

    code, status, title = 104, 404, "not found"


class UnknownTask(Refused):
    """The app has no registered task of this name."""

    code, status, title = 104, 422, "unknown task"


class BadArguments(Refused):
    """The arguments don't fit the task's signature, or an option is invalid.

    :param argument: name of the argument or option at fault, if there is one.
    """

    code, status, title = 107, 422, "arguments do not fit"

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class Conflict(Refused):
    """The task id or idempotency key was used for another request."""

    code, status, title = 107, 422, "already used"


class NotSent(Refused):
    """The task's own code refused to send it or sent nothing, for example because it is already queued.

    :param task_id: id of the task that prevented it, if that code named one.
    """

    code, status, title = 409, 409, "not sent"

    def __init__(self, message: str, *, task_id: str | None = None) -> None:
        super().__init__(message)
        self.task_id = task_id


class TooLarge(Refused):
    """The request body is too large."""

    code, status, title = 107, 413, "too large"


class PathTooLong(Refused):
    """The path of the request is too long."""

    code, status, title = 107, 414, "path too long"


class HeadersTooLarge(Refused):
    """The request headers are too large or too many."""

    code, status, title = 107, 431, "headers too large"


class TooSlow(Refused):
    """The request did not arrive in time."""

    code, status, title = 107, 408, "request timeout"


class UnsupportedMediaType(Refused):
    """The Content-Type of the request is not JSON."""

    code, status, title = 107, 415, "unsupported media type"


class NotSucceeded(Refused):
    """The task has no result, or not yet."""

    code, status, title = 107, 409, "no result"


class Gone(Refused):
    """There was a result, but it is no longer available."""

    code, status, title = 107, 410, "gone"


class TooMany(Refused):
    """The client exceeds a limit, or the relay is overloaded.

    :param retry_after: seconds after which the request may be repeated.
    """

    code, status, title, temporary = 111, 429, "too many requests", True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Full(Refused):
    """The relay has its maximum number of connections."""

    code, status, title, temporary = 100, 503, "full", True


class NoApp(Refused):
    """The relay runs without a Celery app, so it can't submit or revoke tasks."""

    code, status, title = 108, 501, "no Celery app"


class Unavailable(Refused):
    """The broker, the result backend or Redis is unavailable.

    :param submitted: whether the task may have been queued anyway; None if this was not a submission.
    """

    code, status, title, temporary = 100, 503, "unavailable", True

    def __init__(self, message: str, *, submitted: Literal["no", "unknown"] | None = None) -> None:
        super().__init__(message)
        self.submitted = submitted

"""``watcher.token``: a token that lets a browser watch one task; and the secret that signs it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from uuid import UUID

from watcher.core.errors import SettingError
from watcher.core.permissions import END_OF_TIME, issue, literally
from watcher.core.settings import setting

__all__ = ["Identified", "asked", "identity_of", "secret_in", "signing_secret", "token"]


class Identified(Protocol):
    """Anything with a task id: Celery's AsyncResult, a task of :func:`watcher.connect`, an event."""

    @property
    def id(self) -> str:
        """The task id."""


def token(
    result_or_id: Identified | str | UUID,
    /,
    *,
    ttl: float = 900,
    watch: Iterable[str] = (),
    submit: Iterable[str] = (),
    secret: str | None = None,
) -> str:
    """A signed token that lets its holder watch one task and nothing else, for the browser of the user who started it.

    It is signed locally, without asking a relay.

    :param result_or_id: the task: what ``delay()`` returned, or its id.
    :param ttl: lifetime in seconds.
    :param watch: globs of channels that may be watched too, for example ``tag:user:42``.
    :param submit: globs of names of tasks that may be submitted.
    :param secret: the relay's secret; by default ``WATCHER_SECRET``, or the content of the file that
        ``WATCHER_SECRET_FILE`` names.
    :raises SettingError: there is no secret, or it is too short.
    :raises ValueError: ``ttl`` is not a positive finite number, or the id is empty.
    :raises TypeError: the first argument is not a task.
    """
    if not 0 < ttl < END_OF_TIME:
        raise ValueError(f"ttl={ttl!r}: seconds above 0 and below 2^53 are accepted")
    channel = literally(f"task:{identity_of(result_or_id)}")
    key = signing_secret(secret, "secret")
    channels, names = [channel, *_globs(watch, "watch")], _globs(submit, "submit")
    return issue(key, ttl=ttl, watch=channels, submit=names, audience=asked("audience"), issuer=asked("issuer"))


def signing_secret(secret_text: str | None, name: str) -> str:
    """The secret that signs tokens: ``secret_text``, which came from ``name``, or else ``WATCHER_SECRET`` or its file.

    :raises SettingError: there is none, or it is too short.
    """
    secret = setting("secret")
    if secret_text is not None:
        return str(secret.read(secret_text, name))
    text = os.environ.get(secret.variable, "").strip()
    path = os.environ.get(setting("secret_file").variable, "").strip()
    if path and not text:
        return secret_in(path)
    if not text:
        raise SettingError(secret.variable, None, secret.accepted)
    return str(secret.read(text, secret.variable))


def secret_in(path: str) -> str:
    """Read a secret from a file.

    :raises SettingError: the file can't be read, or the secret is too short.
    """
    name = setting("secret_file").variable
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingError(name, path, f"the file can't be read: {why}") from None
    return str(setting("secret").read(text, name))


def asked(name: str) -> str:
    """The ``audience`` or ``issuer`` that the relay requires in tokens, by its setting; empty if none."""
    asked_for = setting(name)
    names = asked_for.read(os.environ.get(asked_for.variable, ""), asked_for.variable) or ()
    return str(names[0]) if names else ""


def identity_of(task: object) -> str:
    """The task id of an id, or of an object that has one.

    :raises TypeError: it is neither.
    :raises ValueError: the id is empty.
    """
    task_id = task if isinstance(task, str | UUID) else getattr(task, "id", None)
    if not isinstance(task_id, str | UUID):
        raise TypeError(f"expected a task id, or an object with one such as Celery's AsyncResult, not {task!r}")
    if not str(task_id):
        raise ValueError("a task id must not be empty")
    return str(task_id)


def _globs(globs: Iterable[str], name: str) -> list[str]:
    if isinstance(globs, str):
        raise TypeError(f"{name}={globs!r}: expected a list, for example [{globs!r}]")
    return list(globs)

"""The tasks of the app as clients see them: which they may submit, with which arguments, and what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec
from celery import Task
from msgspec import UNSET

from watcher.core.errors import NotPermitted, UnknownTask
from watcher.core.permissions import Grant
from watcher.core.redact import Redactor
from watcher.core.suggestions import Suggestions
from watcher.relay.api.schemas import Registry
from watcher.relay.api.signature import Registered, Signature, describe
from watcher.relay.api.task_list import TaskListCache
from watcher.relay.submit.broker import Broker
from watcher.rendering.policy import Policy

__all__ = ["TaskCatalog"]


class _Entry(NamedTuple):
    """One task's signature, for checks and for people."""

    task: Task[Any, Any]
    signature: Signature | None
    shown: Registered


class TaskCatalog:
    """What is known of the app's tasks; it is read once, and again where another task took the name.

    :param submit: globs of the names that may be submitted at this relay.
    :param policy: says what is masked in a default.
    """

    def __init__(self, submit: Sequence[str], policy: Policy | None) -> None:
        self._submit = submit
        self._policy = policy
        self._entries: dict[str, _Entry] = {}
        self._lists = TaskListCache()
        self._suggestions = Suggestions()

    def read(self, tasks: Iterable[Task[Any, Any]]) -> None:
        """Read the signatures of these, so that no client waits for it."""
        for task in tasks:
            self._entry(task)

    def permitted(self, broker: Broker, name: str, grant: Grant) -> Task[Any, Any]:
        """The task of this name.

        :raises NotPermitted: it may not be submitted by the holder of ``grant``. UnknownTask: there is none.
        """
        if not self._may_submit(name, grant):
            raise NotPermitted(f"tasks named {name!r} may not be submitted")
        task = broker.task(name)
        if task is None:
            meant = self._suggestions.meant(
                name, lambda: [other for other in broker.names() if self._may_submit(other, grant)]
            )
            raise UnknownTask(f"no task {name!r} is registered{meant}")
        return task

    def check(self, task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check arguments against the task's signature, where it can be read.

        :raises BadArguments: they don't fit.
        """
        signature = self._entry(task).signature
        if signature is not None:
            signature.check(args, kwargs)

    def listed(self, tasks: list[Task[Any, Any]], grant: Grant) -> msgspec.Raw:
        """Those of ``tasks`` that the holder of ``grant`` may submit, and whether they may revoke: as JSON."""

        def make(tasks: Iterable[Task[Any, Any]]) -> Registry:
            shown = [self._entry(task).shown for task in tasks if self._may_submit(str(task.name), grant)]
            return Registry(shown, revoke=grant.revoke)

        return self._lists.encoded((grant.submit, grant.revoke), tasks, make)

    def _may_submit(self, name: str, grant: Grant) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._submit) and grant.may_submit(name)

    def _entry(self, task: Task[Any, Any]) -> _Entry:
        name = str(task.name)
        entry = self._entries.get(name)
        if entry is None or entry.task is not task:
            redactor = self._policy.of(name).redactor if self._policy is not None else Redactor()
            entry = self._entries[name] = _Entry(task, Signature.of(task), _masked(describe(task), redactor))
        return entry


def _masked(shown: Registered, redactor: Redactor) -> Registered:
    """``shown`` without defaults that look secret."""
    parameters = [
        msgspec.structs.replace(parameter, default=UNSET) if redactor.is_secret(parameter.name) else parameter
        for parameter in shown.parameters
    ]
    return msgspec.structs.replace(shown, parameters=parameters, signature=redactor.text(shown.signature))

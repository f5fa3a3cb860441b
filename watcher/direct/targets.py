"""What may be waited for: Celery's results, and ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias
from uuid import UUID

from celery.result import AsyncResult, ResultSet

from watcher.core.tokens import identity_of

__all__ = ["Many", "One", "ancestors", "leaves"]

#: A task: Celery's AsyncResult, or its id.
One: TypeAlias = "AsyncResult[Any] | str | UUID"
#: Several of them: a GroupResult, or any iterable.
Many: TypeAlias = "ResultSet | Iterable[One | ResultSet]"


def leaves(target: Any) -> Iterator[One]:
    """The tasks in ``target``, those in groups within groups too, in order."""
    if isinstance(target, ResultSet):
        target = target.results
    elif isinstance(target, str | UUID | AsyncResult) or not isinstance(target, Iterable):
        yield target
        return
    for member in target:
        yield from leaves(member)


def ancestors(target: One) -> list[str]:
    """Ids of the tasks that had to succeed before this one is sent: the earlier links of its chain."""
    ids: list[str] = []
    parent = getattr(target, "parent", None)
    while parent is not None:
        ids += [identity_of(leaf) for leaf in leaves(parent)]
        parent = parent.parent
    return ids

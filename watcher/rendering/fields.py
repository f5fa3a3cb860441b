"""The fields that a task's events take from its message, or from the request that Celery makes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import Any

from celery import current_app
from celery.utils.time import make_aware

from watcher.core.event import Event
from watcher.rendering import lives, tagging
from watcher.rendering.routing import queue_of

__all__ = ["about", "identity", "next_schedule", "ran_for", "schedule"]


def identity(headers: dict[str, Any], body: Any) -> Mapping[str, Any]:
    """The part of a message that names its task: the headers in protocol 2, the body in protocol 1."""
    return headers if "task" in headers or not isinstance(body, Mapping) else body


def about(
    task_id: str | None, headers: tagging.Headers, name: str, state: str, timestamp: float, *, queue: str | None = None
) -> Event:
    """An event that says which task it is of, where it runs and in which try; the caller adds the other fields."""
    get = headers.get
    information = get("delivery_info") or {}
    return Event(
        id=str(task_id),
        name=name,
        hostname=get("hostname"),
        queue=queue or queue_of(information),
        retries=get("retries") or 0,
        sent=lives.sent_of(headers),
        run=get(lives.RUN),
        redelivered=lives.deliveries(headers) or None if information.get("redelivered") else None,
        root_id=get("root_id"),
        parent_id=get("parent_id"),
        group_id=get("group"),
        tags=tagging.of_task(headers),
        state=state,
        timestamp=timestamp,
        source="signal",
    )


def ran_for(request: tagging.Headers) -> float | None:
    """Seconds that the task of a request has run so far; None where it has not begun in this process."""
    since = request.get("watcher_since")
    return time.monotonic() - since if since is not None else None


def schedule(headers: tagging.Headers) -> dict[str, Any]:
    """When the task may run, ISO 8601 as Celery sends it, but always with a zone."""
    return {"eta": _iso(headers.get("eta")), "expires": _iso(headers.get("expires"))}


def _iso(moment: Any) -> str | None:
    """A moment as ISO 8601, with a zone: without one Celery takes it for a moment in that of the app."""
    if not moment:
        return None
    when = moment
    if not isinstance(moment, datetime):
        try:
            when = datetime.fromisoformat(str(moment))
        except ValueError:
            return str(moment)
    if when.tzinfo is None:
        return str(make_aware(when, current_app.timezone).isoformat())
    return moment.isoformat() if isinstance(moment, datetime) else str(moment)


def next_schedule(retry: Any, headers: tagging.Headers) -> dict[str, Any]:
    """When the next try may run, as what Celery raises for it says; without a reason nothing of it changes.

    :param headers: of this try.
    """
    signature = getattr(retry, "sig", None)
    options = signature.options if signature is not None else {"expires": headers.get("expires")}
    return {"eta": _moment(getattr(retry, "when", None)), "expires": _moment(options.get("expires"))}


def _moment(when: Any) -> str | None:
    """Seconds from now, or a moment."""
    if isinstance(when, Real):
        return (datetime.now(UTC) + timedelta(seconds=float(when))).isoformat()
    return _iso(when)

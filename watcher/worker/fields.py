"""What a task's message, or the request that Celery makes of it, tells of the task: the fields of its events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import Any

from watcher.event import Event
from watcher.worker import lives, tagging

__all__ = ["about", "identity", "next_schedule", "schedule"]


def identity(headers: dict[str, Any], body: Any) -> Mapping[str, Any]:
    """Where a message says which task it is for: protocol 2 in its headers, protocol 1 in its body."""
    return headers if "task" in headers or not isinstance(body, Mapping) else body


def about(
    task_id: str | None, headers: tagging.Headers, name: str, state: str, timestamp: float, *, queue: str | None = None
) -> Event:
    """An event with the fields that say which task it is, where and in which try; what else it tells is to be added."""
    get = headers.get
    information = get("delivery_info") or {}
    return Event(
        id=str(task_id),
        name=name,
        hostname=get("hostname"),
        queue=queue or information.get("routing_key"),
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


def schedule(headers: tagging.Headers) -> dict[str, Any]:
    """When the task may run, ISO 8601 as Celery sends it."""
    return {"eta": _iso(headers.get("eta")), "expires": _iso(headers.get("expires"))}


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else str(moment) if moment else None


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

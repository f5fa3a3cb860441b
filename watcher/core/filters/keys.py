"""The keys of the filter language as one table: what each is for, of which kind its values are, examples. Pure.

The table in docs/filters.md, the completion and what errors say of a key are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ALIASES", "KEYS", "Key"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    :param name: as it is written before the colon.
    :param values: how its values are read: a state or a kind, a text or a pattern, a moment, a bound of a duration.
    :param meaning: what it is for, in one sentence of Markdown without its end.
    :param examples: values, as they are written.
    """

    name: str
    values: Literal["state", "glob", "moment", "bound"]
    meaning: str
    examples: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether several terms with the key are alternatives; else all of them must hold."""
        return self.values in ("state", "glob")


#: In the order in which people are told of them.
KEYS: Final[dict[str, Key]] = {
    key.name: key
    for key in (
        Key(
            "state",
            "state",
            "the state: a kind (`waiting`, of which `queued`, `scheduled` and `retrying` are parts; `running`, `lost`, "
            "`succeeded`, `failed`, `other`), one of Celery's names, or a custom one",
            ("failed", "queued", "REVOKED"),
        ),
        Key("name", "glob", "the task's name", ("mail.send", "mail.*")),
        Key("queue", "glob", "the queue that it was sent to", ("default", "legacy-*")),
        Key("worker", "glob", "the worker's name, or what stands after its `@`", ("celery@web2", "web2")),
        Key("tag", "glob", "one of its tags", ("user:42", "user:*")),
        Key("error", "glob", "the type of its exception, or the last part of that", ("CardDeclined", "*Timeout")),
        Key("since", "moment", "the task last changed then or later", ("2h", "22:00", "2026-11-30")),
        Key("until", "moment", "the task last changed before", ("03:10", "2026-11-30T03:10Z")),
        Key("runtime", "bound", "for how long its current try has run", (">5s", "<=200ms")),
        Key("waited", "bound", "for how long its current try waited for its start, or waits", (">1m", "<10s")),
        Key("id", "glob", "its id", ("order-17", "order-*")),
        Key("root", "glob", "the id of the task that began the workflow; a task alone is its own root", ("order-17",)),
        Key("parent", "glob", "the id of the task that sent it", ("order-17",)),
        Key("group", "glob", "the id of the group or chord that it is in", ("nightly",)),
    )
}
#: Other words for the keys: suggested, not accepted, so that a filter reads the same everywhere.
ALIASES: Final = {
    "after": "since", "before": "until", "duration": "runtime", "exception": "error", "from": "since",
    "group_id": "group", "host": "worker", "hostname": "worker", "kind": "state", "latency": "waited",
    "parent_id": "parent", "root_id": "root", "status": "state", "tags": "tag", "task": "name", "task_id": "id",
    "to": "until", "uuid": "id", "wait": "waited", "waiting": "waited",
}  # fmt: skip

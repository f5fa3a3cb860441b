"""Which queues a client may name: those that the app knows, and those that a worker serves just now.

On a Redis a queue is a key of its name, so who may name any can fill the memory, where no worker ever empties it; and
each name that Celery doesn't know stays in its table of queues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import anyio
from celery import Celery

from watcher.core.errors import BadArguments, NotPermitted, Unavailable
from watcher.relay.limits.bounded_threads import BoundedThreads

__all__ = ["Queues", "routed"]

#: What workers have said is believed for so long, in seconds: each time they are asked costs all of them a message.
#: A worker that has come since, or was busy, is to be heard sooner.
_FRESH: Final = 5.0
_SILENT: Final = 1.0
#: They have so long to say it, in seconds; beside what the connection may take.
_ANSWER: Final = 1.0
_LIMIT: Final = 2.0
#: The operator's word for all queues that are known.
_ALL: Final = "*"


class Queues:
    """The queues that submissions may name.

    :param app: its configuration is only read.
    :param permitted: globs of names that may be given at all. All but ``*`` speak for queues that nobody knows, too.
    :param served: asks the workers for the names of their queues, given how long they may take, in seconds; it blocks.
    """

    def __init__(self, app: Celery, permitted: Iterable[str], served: Callable[[float], set[str]]) -> None:
        self._app = app
        self._permitted = tuple(permitted)
        self._named = tuple(glob for glob in self._permitted if glob != _ALL)
        self._ask = served
        self._threads = BoundedThreads(1)
        self._asking = anyio.Lock()
        self._served: set[str] = set()
        self._asked = -_FRESH  # when they were, by the event loop's clock

    async def check(self, name: str, granted: Iterable[str]) -> None:
        """Check that a task may be sent to the queue that a client has named.

        :param granted: globs of queues that its token speaks for, whether or not somebody knows them.
        :raises NotPermitted: the operator doesn't let it be named.
        :raises BadArguments: Celery keeps it for itself, or nobody knows it.
        :raises Unavailable: the app doesn't know it, and the broker is away, so that no worker can be asked.
        """
        if not _matches(name, self._permitted):
            raise NotPermitted(f"option 'queue': tasks may not be sent to the queue {name!r}")
        if self._is_reserved(name):
            raise BadArguments(f"option 'queue': {name!r} is reserved by Celery", argument="queue")
        if _matches(name, (*self._named, *granted)) or self._is_known(name) or await self._is_served(name):
            return
        why = "it is not in task_queues or task_routes, and no worker consumes it; allow it with WATCHER_SUBMIT_QUEUES"
        raise BadArguments(f"option 'queue': unknown queue {name!r}: {why}", argument="queue")

    def _is_known(self, name: str) -> bool:
        # The table also has those that the app's own routers have named.
        table: Any = self._app.amqp.queues
        if name in table or name in table.aliases or name == self._app.conf.task_default_queue:
            return True
        return name in routed(self._app.conf.task_routes) or any(
            getattr(task, "queue", None) == name for task in self._app.tasks.values()
        )

    def _is_reserved(self, name: str) -> bool:
        """Whether this app's settings give the name to what isn't a queue for tasks; see also submission.py."""
        conf = self._app.conf
        options: Any = conf.broker_transport_options or {}
        if name in [options.get(key) for key in ("unacked_key", "unacked_index_key", "unacked_mutex_key")]:
            return True
        backend: Any = conf.result_backend_transport_options or {}
        prefix = backend.get("global_keyprefix") or ""
        results = [f"{prefix}{between}{kind}" for between in ("", "_") for kind in ("celery-task", "chord-")]
        return name.startswith((str(conf.event_queue_prefix or "celeryev"), *results))

    async def _is_served(self, name: str) -> bool:
        """Whether a worker says that it serves a queue; all who want to know meanwhile have the same answer."""
        async with self._asking:
            age = anyio.current_time() - self._asked
            if age > (_FRESH if name in self._served else _SILENT):
                try:
                    self._served = await self._threads.run(lambda: self._ask(_ANSWER), _LIMIT)
                except TimeoutError:
                    raise Unavailable("the broker doesn't answer", submitted="no") from None
                self._asked = anyio.current_time()
            return name in self._served


def routed(routes: Any) -> set[str]:
    """The queues that ``task_routes`` names, as far as they stand in it; what a router of the app's does is its own."""
    names: set[str] = set()
    for route in routes if isinstance(routes, list | tuple) else (routes,):
        pairs = route.items() if isinstance(route, Mapping) else route if isinstance(route, list | tuple) else ()
        for pair in pairs:
            target = pair[1] if isinstance(pair, list | tuple) and len(pair) == 2 else None
            queue = target.get("queue") if isinstance(target, Mapping) else target
            name = getattr(queue, "name", queue)
            if isinstance(name, str) and name:
                names.add(name)
    return names


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)

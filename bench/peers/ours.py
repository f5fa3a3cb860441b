"""celery-watcher's relay, as `watcher serve -A proj` runs it, fed through the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import watcher
from bench.events import Message, message
from bench.generator import Subscription
from bench.machine import SERVER_CORE, on_core
from bench.peers.base import Serving
from bench.publish import ByJournal
from tests.support.processes import relay
from tests.support.valkey import Valkey

_STEP = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"%s"}}'
_REPLY = '"id":2,"subscribe"'


def subscription(channel: str) -> Subscription:
    """A client that watches one channel."""
    return Subscription("/connection/websocket", ((_STEP % channel, _REPLY),), ping="{}", pong="{}")


def announce(address: str, count: int) -> None:
    """Put one event of each client's task into the journal: people watch tasks that were sent."""
    journal = ByJournal(address)
    for start in range(0, count, journal.batch):
        few = range(start, min(start + journal.batch, count))
        # Without the mark that the load generator counts by.
        journal.send([_unmarked(message(each, count, unicast=True)) for each in few])


def _unmarked(announced: Message) -> Message:
    return announced._replace(line=announced.line.replace(b'"n":', b'"no":'))


class Ours:
    """Our relay."""

    name = "celery-watcher"

    def prepare(self) -> str:
        return watcher.__version__

    @contextmanager
    def serve(self, valkey: Valkey) -> Iterator[Serving]:
        env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
        env |= {"WATCHER_MAX_CONNECTIONS": "20000", "WATCHER_MAX_CONNECTIONS_PER_ADDRESS": "20000"}  # one machine
        journal = valkey.url(14)  # it is where the result backend is
        with ExitStack() as stack:
            with on_core(SERVER_CORE):
                running = stack.enter_context(relay("tasks", env=env))
            yield Serving(
                port=int(running.url.rpartition(":")[2]), pid=running.pid, way="journal", address=journal,
                fan_out=subscription("tasks"), unicast=subscription("task:task-{n}"),
                announce=lambda count: announce(journal, count),
            )  # fmt: skip

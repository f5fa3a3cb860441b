"""The queue that a message goes to or came from, by the app's bindings; looked up once for each route."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from celery import current_app

__all__ = ["queue_of", "queue_to"]

#: The exchanges of native delayed delivery, by which a task with an eta waits for a quorum queue, and what they put
#: before its routing key: the seconds in 28 bits (kombu/transport/native_delayed_delivery.py).
_DELAYED: Final = "celery_delayed_"
_DELAY: Final = re.compile(r"^(?:[01]\.){28}")
#: Most routes that are remembered: a topic may have as many routing keys as there are messages.
_MOST: Final = 1000

_queues: dict[tuple[Any, Any], str | None] = {}


def queue_of(delivery: Mapping[str, Any] | None) -> str | None:
    """The queue that a message came from, by its ``delivery_info``; None where nothing says it."""
    return queue_to(delivery.get("exchange"), delivery.get("routing_key")) if delivery else None


def queue_to(exchange: Any, routing_key: Any, declared: Any = None, app: Any = None) -> str | None:
    """The queue that a message goes to; the routing key, where no binding of the app leads to one.

    :param exchange: its name, or kombu's exchange.
    :param declared: the queue that Celery declares before it sends; that is the default one where the sender has
        chosen an exchange, but no queue.
    :param app: whose bindings hold, where it isn't the current app.
    """
    exchange = getattr(exchange, "name", exchange)
    if exchange and exchange == getattr(getattr(declared, "exchange", None), "name", None):
        return str(declared.name)
    if not exchange:
        return routing_key if isinstance(routing_key, str) else None  # the default exchange: a queue's own name
    way = (exchange, routing_key)
    if way not in _queues:
        if len(_queues) >= _MOST:
            _queues.clear()
        _queues[way] = _search(app or current_app, str(exchange), str(routing_key or ""))
    return _queues[way]


def _search(app: Any, exchange: str, routing_key: str) -> str | None:
    delayed = _DELAYED in exchange
    key = _DELAY.sub("", routing_key) if delayed else routing_key
    queues = app.amqp.queues
    # A worker's own queues come first: of several that a message was copied to, it has it from one of these.
    for some in (getattr(queues, "consume_from", queues), queues):
        for queue in some.values():
            if any(_takes(binding, None if delayed else exchange, key) for binding in _bindings(queue)):
                return str(queue.name)
    return key or None


def _bindings(queue: Any) -> Iterator[tuple[Any, str]]:
    if queue.exchange:
        yield queue.exchange, queue.routing_key or ""
    for binding in queue.bindings or ():
        yield binding.exchange, binding.routing_key or ""


def _takes(binding: tuple[Any, str], exchange: str | None, key: str) -> bool:
    """Whether a message comes through a binding.

    :param exchange: None: it may be any, as the message comes from the delay.
    """
    bound, pattern = binding
    if exchange is not None and bound.name != exchange:
        return False
    if bound.type == "topic":
        return _matches(pattern.split("."), key.split("."))
    return (bound.type in ("fanout", "headers") and exchange is not None) or pattern == key


def _matches(pattern: Iterable[str], words: list[str]) -> bool:
    """Whether a topic's pattern takes a key: ``*`` is one word, ``#`` any number of them (AMQP 0-9-1, 3.1.3.3)."""
    reached = {0}
    for part in pattern:
        if part == "#":
            reached = set(range(min(reached), len(words) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
    return len(words) in reached

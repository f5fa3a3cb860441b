"""The relay's own connections to the broker: with time-outs, without retries, and honest about what has been sent.

Celery's own wait for minutes and try again by themselves, which is right in a worker and wrong in a service that
somebody waits for. The app's configuration says where the broker is, and is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError, LimitExceeded, OperationalError
from kombu.pools import ProducerPool

from watcher.core.errors import Unavailable
from watcher.relay.common.outage import causes, unavailable

__all__ = ["BrokerConnection", "BrokerPool", "BrokerUnavailable"]

#: Connecting takes at most this long, and each read or write too, in seconds.
_TIMEOUT: Final = 2.0
#: Waiting for a connection of the pool, in seconds: there are as many as callers.
_POOL_TIMEOUT: Final = 0.5
#: Where the operating system says one of these, nobody listens there, so nothing was sent.
_NOBODY_THERE: Final = frozenset(
    (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOENT)
)

#: What AMQP 0-9-1 answers of a queue that can't be declared or published to.
_QUEUE_CODES: Final = frozenset((403, 404, 405, 406))


class BrokerUnavailable(Exception):
    """The broker can't be reached, or doesn't take what it is given.

    :param absent: whether there was no connection, so that nothing can have been sent.
    :param refused: whether the broker answered that it doesn't take the message; ``of_queue``: because of its queue.
    """

    def __init__(self, reason: BaseException, *, absent: bool, refused: bool = False, of_queue: bool = False) -> None:
        super().__init__(f"the broker {'refuses' if refused else 'does not answer'}: {reason}")
        self._reason = reason
        self._refusals: dict[str | None, Unavailable] = {}
        self.absent = absent
        self.refused = refused
        self.of_queue = of_queue

    def refusal(self, submitted: Literal["no", "unknown"] | None) -> Unavailable:
        """The same for the client."""
        if submitted not in self._refusals:  # once for all messages of a batch
            self._refusals[submitted] = unavailable(
                "the broker", self._reason, refuses=self.refused, submitted=submitted
            )
        return self._refusals[submitted]


class _SingleTryProducer(Producer):
    """A producer that tries once, whatever it is told: a remote control command would retry for ever."""

    def publish(self, body: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs["retry"] = False
        return super().publish(body, *args, **kwargs)


class BrokerConnection(NamedTuple):
    """A connection that is up, and a producer on it."""

    connection: Connection
    producer: Producer

    @property
    def takes_batches(self) -> bool:
        """Whether several messages can be handed over in one write: kombu 5.7 can over Redis, twice as fast."""
        return bool(getattr(self.producer, "supports_batch_publish", False))

    def give_up(self) -> None:
        """Close the connection: whoever has the line next gets another one."""
        _close(self.connection)

    @contextlib.contextmanager
    def together(self, most: int) -> Iterator[None]:
        """Hand over what is published in this block at its end.

        :param most: how many messages, at most.
        """
        producer: Any = self.producer
        # A message may take several commands: those of a queue that expires.
        with producer.batch(max_size=100 * most):
            yield


class BrokerPool:
    """A bounded pool of connections for one app.

    :param limit: how many may be in use at a time.
    """

    def __init__(self, app: Celery, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._lock = threading.Lock()
        self._pool: Any = None  # a kombu pool: of its methods, the stubs know but a few

    @property
    def producers(self) -> ProducerPool:
        """The pool; making it opens no connection."""
        with self._lock:
            if self._pool is None:
                connections = self._connection().Pool(limit=self._limit)
                self._pool = ProducerPool(connections, limit=self._limit, Producer=_SingleTryProducer)
            pool: ProducerPool = self._pool
            return pool

    @contextlib.contextmanager
    def line(self) -> Iterator[BrokerConnection]:
        """A connection for a while. After an error of the broker's it is closed, and the next one is new.

        :raises Away: the broker can't be reached, or an error of its own came out of the block.
        """
        try:
            producer = self.producers.acquire(block=True, timeout=_POOL_TIMEOUT)
        except LimitExceeded as error:
            raise BrokerUnavailable(error, absent=True) from error
        try:
            connection: Any = producer.connection  # it always has one
            try:
                connection.default_channel  # noqa: B018 - asking for it connects
            except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
                _close(connection)
                raise BrokerUnavailable(error, absent=True) from error
            try:
                yield BrokerConnection(connection, producer)
            # kombu wraps what its retries give up on; what a remote control command runs into comes as it is.
            except (OperationalError, KombuError, *connection.connection_errors, *connection.channel_errors) as error:
                _close(connection)
                raise _away(error, connection) from error
        finally:
            self.producers.release(producer)

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            pool.connections.force_close_all()

    def _connection(self) -> Connection:
        connection = self._app.connection_for_write(connect_timeout=_TIMEOUT)
        options: dict[str, Any] = dict(connection.transport_options or {})
        # Each of the broker's addresses is tried once, without a pause.
        once = {"max_retries": max(0, len(connection.alt) - 1), "interval_start": 0, "interval_step": 0}
        kind = str(connection.transport_cls)
        if kind.startswith(("redis", "sentinel", "valkey")):
            options |= once | {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT}
            options["retry_on_timeout"] = False
        elif kind.startswith(("amqp", "pyamqp")):
            # The broker's confirmation is what tells "sent" from "written to a socket".
            options |= once | {"read_timeout": _TIMEOUT, "write_timeout": _TIMEOUT, "confirm_publish": True}
        connection.transport_options = options
        return connection


def _close(connection: Connection) -> None:
    """Close a connection that failed: an answer that comes late must not be taken for that of the next message."""
    with contextlib.suppress(Exception):  # it is broken: whatever closing it raises says nothing new
        connection.close()


def _away(error: BaseException, connection: Any) -> BrokerUnavailable:
    """What ``error``, which came while something was sent, says of the broker."""
    chain = list(causes(error))
    absent = any(
        isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _NOBODY_THERE)
        for cause in chain
    )
    refusals = tuple(connection.channel_errors)
    refused = any(isinstance(cause, refusals) and not isinstance(cause, KombuError) for cause in chain)
    return BrokerUnavailable(
        error, absent=absent, refused=refused, of_queue=refused and any(map(_is_about_a_queue, chain))
    )


def _is_about_a_queue(cause: BaseException) -> bool:
    """Whether the broker refuses a queue, and not what is in the message; on a Redis, for it is another's key."""
    return getattr(cause, "reply_code", None) in _QUEUE_CODES or "WRONGTYPE " in str(cause)

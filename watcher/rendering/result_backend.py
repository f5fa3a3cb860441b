"""Stored results of Celery's backend → events.

It is read as JSON, and nothing else is ever made of it: a pickled result is code, and whoever can write to the backend
chose it. A backend that keeps its results otherwise (a database, RPC) is not asked.
"""

from __future__ import annotations

import bz2
import json
import logging
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from celery import Celery
from celery.app import backends
from celery.backends.base import BaseKeyValueStoreBackend
from celery.backends.redis import RedisBackend
from celery.exceptions import ImproperlyConfigured
from msgspec import UNSET

from watcher.core.event import Event, Reason
from watcher.core.order import rank
from watcher.journal.configured import backend_target
from watcher.journal.connect import Target
from watcher.rendering._celery import compression_mark
from watcher.rendering.policy import Policy
from watcher.rendering.reprs import clean
from watcher.rendering.values import Rendering

__all__ = ["READERS", "InRedis", "Stored", "decompressed", "done_at", "event_of", "redis_of", "result_of", "value_of"]

logger = logging.getLogger(__name__)

#: Time limit for a read where the backend is Redis, in seconds.
_TIMEOUT: Final = 2.0
#: Most threads that read at a time …
READERS: Final = 8
#: … and most tasks that each asks for at once, where the backend can be asked for several: a result may be large.
_AT_ONCE: Final = 16
_FAILED: Final = ("FAILURE", "RETRY", "REVOKED")
_REASONS: Final[dict[str, Reason]] = {"revoked": "revoked", "terminated": "terminated", "expired": "expired"}
#: What Celery itself raises for a task, and what the plugin makes of it (watcher/worker/hooks/signals.py).
_CAUSES: Final[dict[str, Reason]] = {
    "WorkerLostError": "worker_lost", "TimeLimitExceeded": "time_limit", "SoftTimeLimitExceeded": "time_limit",
}  # fmt: skip
#: What is longer is no name of a state, in characters; and nothing is tried again so often.
_LONGEST_STATE: Final = 255
_MOST_RETRIES: Final = 2**31
#: How a compressed result begins, and what opens which kind (kombu/compression.py).
_MARK: Final[bytes] = compression_mark()
_DECOMPRESSORS: Final[dict[bytes, Callable[[], Any]]] = {
    b"application/x-gzip": zlib.decompressobj,
    b"application/x-bz2": bz2.BZ2Decompressor,
    b"application/x-lzma": lzma.LZMADecompressor,
}
#: Most bytes of a result when it is decompressed.
_LARGEST: Final = 64 * 1024 * 1024
_CELERYS: Final = ("billiard.exceptions", "celery.exceptions")


class Stored:
    """An app's result backend, read with time-outs of our own; the app's own backend is left alone.

    Reading blocks.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._backend: BaseKeyValueStoreBackend | Literal[False] | None = None
        self._fetches_many = False

    @property
    def at_once(self) -> int:
        """How many tasks a call of :meth:`read` should ask for, at most."""
        return _AT_ONCE if self._fetches_many else 1

    def read(self, identities: Sequence[str]) -> list[bytes | None]:
        """What is stored of each of some tasks, as it is stored; None where nothing is, or where it isn't JSON.

        Errors of the backend's driver are not caught.
        """
        if self._backend is None:
            self._backend = self._open()
        backend = self._backend
        if not backend:
            return [None] * len(identities)
        keys = [backend.get_key_for_task(identity) if identity else None for identity in identities]
        asked = [key for key in keys if key is not None]
        fetched = backend.mget(asked) if self._fetches_many and len(asked) > 1 else map(backend.get, asked)
        payloads = iter([payload.encode() if isinstance(payload, str) else payload or None for payload in fetched])
        return [None if key is None else next(payloads) for key in keys]

    def close(self) -> None:
        """Close its connections, where it is a backend that keeps some and has used them."""
        if self._backend:
            client: Any = vars(self._backend).get("client")
            if hasattr(client, "close"):
                client.close()

    def _open(self) -> BaseKeyValueStoreBackend | Literal[False]:
        try:
            kind_and_url: Any = backends.by_url(self._app.conf.result_backend, self._app.loader)
            kind, url = kind_and_url
            if not issubclass(kind, BaseKeyValueStoreBackend):
                return False
            backend: Any = kind(app=self._app, url=url)
        except (ImportError, ImproperlyConfigured) as error:  # the relay lacks the backend's driver
            logger.warning("the result backend can't be read: %s", error)
            return False
        if backend.serializer != "json":
            return False
        parameters = getattr(backend, "connparams", {})  # of the Redis backends
        for name in ("socket_timeout", "socket_connect_timeout"):
            if name in parameters:
                parameters[name] = _TIMEOUT
        if parameters:
            # The app's own bound is for its own connections: with fewer than readers some would find none.
            parameters["max_connections"] = READERS
        # Of the others, some have it and raise, some fetch one after the other, and one returns a dictionary.
        self._fetches_many = isinstance(backend, RedisBackend)
        return backend  # type: ignore[no-any-return]  # it is one, as was just seen


def decompressed(payload: bytes) -> bytes:
    """``payload`` as it was before it was compressed, which results may be since Celery 5.7.

    Celery's own way decompresses without end, and a few kilobytes may be gigabytes then.

    :raises ValueError: it can't be decompressed, or is larger than what is read here.
    """
    if not _MARK or not payload.startswith(_MARK):
        return payload
    kind, _, body = payload[len(_MARK) :].partition(b"\0")
    make = _DECOMPRESSORS.get(kind)
    if make is None:
        raise ValueError(f"compressed as {kind[:50]!r}")
    decompressor: Any = make()
    try:
        plain = bytes(decompressor.decompress(body, _LARGEST))
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise ValueError(str(error)) from None
    if not decompressor.eof:
        raise ValueError("it is cut off, or too large")
    return plain


class InRedis(NamedTuple):
    """A result backend in Redis: where it is, how its keys begin, and how long a result stays; None: for ever.

    :param expires: in seconds.
    """

    target: Target
    prefix: str
    expires: float | None


def redis_of(app: Celery) -> InRedis | None:
    """An app's result backend, where that is one Redis and keeps JSON; else None.

    :raises SettingError: nothing can be made of what is said of that Redis.
    """
    target = backend_target(app)
    backend: Any = app.backend if target is not None else None
    if target is None or backend.serializer != "json":
        return None
    return InRedis(target, bytes(backend.task_keyprefix).decode(), float(backend.expires or 0) or None)


def event_of(identity: str, payload: bytes, policy: Policy, now: float, name: str | None = None) -> Event | None:
    """The event that a stored result tells of; None where it is not what Celery stores, or can't be read.

    :param now: Unix seconds, for a state that is stored without its time.
    :param name: of the task, where it is known from elsewhere: it says what of the task is shown.
    """
    try:
        return _event(identity, json.loads(decompressed(payload)), policy, now, name)
    except (ValueError, RecursionError):
        return None


def _event(identity: str, meta: Any, policy: Policy, now: float, name: str | None) -> Event | None:
    if not isinstance(meta, dict) or not isinstance(meta.get("status"), str):
        return None
    state = clean(meta["status"])
    if not 0 < len(state) <= _LONGEST_STATE:
        return None
    retries = meta.get("retries")
    stored_name = _text(meta.get("name"))
    rendering = policy.of(name or stored_name)
    return Event(
        id=identity,
        state=state,
        timestamp=_timestamp(meta.get("date_done"), now),
        source="backend",
        name=stored_name,
        hostname=_text(meta.get("worker")) or _starter(state, meta.get("result")),
        queue=_text(meta.get("queue")),
        retries=retries if type(retries) is int and 0 <= retries < _MOST_RETRIES else None,
        parent_id=_text(meta.get("parent_id")),
        group_id=_text(meta.get("group_id")),
        **_explanation(state, meta, rendering),
    )


def done_at(payload: bytes) -> float | None:
    """When what is stored was done, in Unix seconds; None where that isn't stored, or can't be read."""
    try:
        meta = json.loads(decompressed(payload))
        return datetime.fromisoformat(meta["date_done"]).timestamp()
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, OSError):
        return None


def result_of(payload: bytes, rendering: Rendering) -> bytes | None:
    """The JSON text of a stored SUCCESS's result, masked; None where it is something else, no JSON, or not shown."""
    if not rendering.send_results:
        return None
    try:
        return rendering.stored(value_of(payload))
    except (ValueError, RecursionError):
        return None


def value_of(payload: bytes) -> Any:
    """A stored SUCCESS's result, as plain JSON has it: for whom it belongs to, so nothing of it is masked.

    :raises ValueError: it is something else, or no JSON. RecursionError: it is nested too deeply.
    """
    meta = json.loads(decompressed(payload))
    if not isinstance(meta, dict) or meta.get("status") != "SUCCESS":
        raise ValueError("no stored SUCCESS")
    return _plain(meta.get("result"))


def _explanation(state: str, meta: Mapping[str, Any], rendering: Rendering) -> dict[str, Any]:
    """The fields that come with the state."""
    value = _plain(meta.get("result"))
    if state == "SUCCESS":
        shown = rendering.result(value)
        return {"result": shown.value, "result_repr": shown.is_repr, "result_size": shown.size}
    if state in _FAILED:
        return _failure(state, value, meta.get("traceback"), rendering)
    if rank(state) == rank("PROGRESS") and value is not None:
        shown = rendering.meta(value)
        return {"meta": shown.value if not shown.is_repr else UNSET, "meta_size": shown.size}
    return {}


def _failure(state: str, value: Any, traceback: Any, rendering: Rendering) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("exc_type"), str):
        return {}
    message = value.get("exc_message")
    if isinstance(message, list):
        message = message[0] if len(message) == 1 else ", ".join(map(str, message))
    text = "" if message is None else str(message)
    if state == "REVOKED":
        return {"reason": _REASONS[text]} if text in _REASONS else {}
    fields = {"exception": rendering.exception(Exception(text), _text(traceback), name=clean(value["exc_type"]))}
    if state == "FAILURE" and value.get("exc_module") in _CELERYS and value["exc_type"] in _CAUSES:
        return {**fields, "reason": _CAUSES[value["exc_type"]]}
    return fields


def _starter(state: str, value: Any) -> str | None:
    """The worker that has stored that it starts the task (celery/app/trace.py)."""
    return _text(value.get("hostname")) if state == "STARTED" and isinstance(value, dict) else None


def _plain(value: Any) -> Any:
    """``value`` with a plain string in place of each ``__type__`` envelope of kombu's JSON."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"__type__", "__value__"}:
            inner = value["__value__"]
            return inner if isinstance(inner, str) else json.dumps(inner)
        return {key: _plain(item) for key, item in value.items()}
    return value


def _timestamp(moment: Any, now: float) -> float:
    try:
        return max(0.0, datetime.fromisoformat(moment).timestamp())
    except (TypeError, ValueError, OverflowError, OSError):
        return now


def _text(value: Any) -> str | None:
    return clean(value) if isinstance(value, str) and value else None

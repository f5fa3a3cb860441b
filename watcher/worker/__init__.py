"""The worker side: publishes what happens to tasks, from worker and producer processes.

``watcher.install(app)`` beside the app does it for every process that imports the app. ``celery -A proj worker -I
watcher.worker`` does it for a worker without a line of code: importing this module installs nothing by itself, it waits
for the signal that only a worker sends.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from celery import signals as celery_signals  # our own module of that name becomes an attribute of this package
from celery.app import app_or_default

from watcher.core.errors import SettingError
from watcher.core.settings import Settings
from watcher.journal.configured import journal_target
from watcher.journal.layout import Journal
from watcher.rendering.policy import Policy
from watcher.rendering.tagging import put_by_plugin, tags
from watcher.rendering.values import Rendering
from watcher.worker.heartbeat import Heartbeat
from watcher.worker.hooks.signals import SignalHandlers
from watcher.worker.publish.concurrency import threads_run
from watcher.worker.publish.publisher import Publisher, ends_orderly

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from watcher.core.event import Event
    from watcher.core.redact import Hook

__all__ = ["install", "redact_hook", "silence", "tags"]

logger = logging.getLogger("watcher")


class _Plugin:
    """What is installed in this process: one app's settings, and the publisher once it is needed."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self._settings = settings
        self._publisher: Publisher | None = None
        self._publishers: dict[str, Publisher] = {}
        self._presence: Heartbeat | None = None
        self._off = False
        self._reporter = SignalHandlers(app, self.publish, Policy(app, Rendering.of(settings), _redact))

    def connect(self) -> None:
        self._reporter.connect()
        put_by_plugin()
        # Before the pool forks, so that the log says once where the events go. Then at each way a process ends that
        # atexit doesn't see, and where the pool's children still wait for the main process.
        _connect("celeryd_after_setup", self.resolve, "resolve")
        _connect("worker_ready", self.appear, "appear")
        _connect("worker_process_shutdown", self.finish, "finish")
        _connect("worker_shutdown", self.finish, "finish")

    def publish(self, event: Event) -> None:
        if self._off or _silenced:
            return
        publisher = self._publisher or self.resolve()
        if publisher is not None:
            publisher.publish(event)

    def resolve(self, **_: Any) -> Publisher | None:
        """The publisher, made from the app's configuration when it is first needed; None where there is no Redis.

        Threads may come here together, and without a lock, which a fork might leave held in the child.
        """
        if self._publisher is not None or self._off or _silenced:
            return self._publisher
        try:
            target = journal_target(self._settings, self.app)
        except SettingError as error:
            self._off = True
            _say_why(error)
            return None
        journal = Journal(
            self._settings.namespace, target.database, self._settings.history, self._settings.history_bytes
        )
        self._target, self._journal = target, journal
        mine = Publisher(target, journal)
        self._publisher = publisher = self._publishers.setdefault("publisher", mine)
        if publisher is mine:
            logger.info("watcher: publishing to %s, namespace %s", target, self._settings.namespace)
            if target.note:
                logger.warning("watcher: %s", target.note)
        return publisher

    def appear(self, sender: Any, **_: Any) -> None:
        """The worker takes tasks now: from here on relays know whether it is there."""
        if self._publisher is not None and threads_run():
            incarnation = self._reporter.runs.incarnation
            self._presence = Heartbeat(self._target, self._journal, str(sender.hostname), incarnation)

    def finish(self, **_: Any) -> None:
        if self._presence is not None:
            self._presence.stop()
        if self._publisher is not None:
            self._publisher.finish()


_installed: _Plugin | None = None
_redact: Hook | None = None
_silenced = False


def install(app: Celery, *, redact: Hook | None = None) -> None:
    """Publish what happens to tasks, from this process and those that it forks.

    It opens no connection and starts no thread before the first event, and never raises: a setting that is wrong is
    logged, and nothing is published then. Calling it again changes nothing; one process publishes to one Redis, that of
    the app that was first.

    :param app: its ``watcher_redis_url``, else its result backend, else its broker says where to publish to.
    :param redact: called as ``redact(value, task, field)`` before anything of a value leaves the process: ``task`` is
        the task's name (empty where a relay doesn't know it), ``field`` one of ``args``, ``kwargs``, ``result``,
        ``meta`` and ``exception`` (a message or a traceback). It returns what to show, and the value itself where there
        is nothing to hide. Where it raises, nothing of the value is shown. A relay that is started with the app
        (``-A``) calls it too.
    """
    global _installed, _redact  # noqa: PLW0603 - Celery's signals are global to the process, and so is who listens
    _redact = redact if _installed is None else _redact
    if _installed is not None:
        return
    try:
        settings = Settings.load(os.environ)
    except SettingError as error:
        _say_why(error)
        return
    if not settings.enabled:
        return
    _installed = _Plugin(app, settings)
    try:
        _installed.connect()
    except Exception:  # an app must start with whatever Celery it has
        logger.exception("watcher: some events are not published: this Celery is none that it knows")


def redact_hook() -> Hook | None:
    """What :func:`install` was given as ``redact``; a relay masks by it too."""
    return _redact


def silence() -> None:
    """Publish nothing from this process, whatever is or gets installed: a relay publishes in its own way."""
    global _silenced  # noqa: PLW0603 - one switch for the process
    _silenced = True


def _say_why(error: SettingError) -> None:
    logger.error("watcher: no events are published: %s", error)


def _on_worker_init(sender: Any, **_: Any) -> None:
    ends_orderly()
    install(sender.app)


def _on_worker_process_init(**_: Any) -> None:
    # A child that was spawned, not forked, imports the modules anew and hears no worker_init.
    ends_orderly()
    install(app_or_default())


def _connect(name: str, handler: Callable[..., object], identity: str) -> None:
    """Have Celery's signal call ``handler``; where it has no such signal, nothing is called."""
    signal = getattr(celery_signals, name, None)
    if signal is not None:
        signal.connect(handler, weak=False, dispatch_uid=f"watcher:{identity}")


_connect("worker_init", _on_worker_init, "worker_init")
_connect("worker_process_init", _on_worker_process_init, "worker_process_init")

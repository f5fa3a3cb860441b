"""Carries out the plan of `watcher up`: finds out which Redis answers, and starts the embedded servers."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from celery import Celery
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from watcher.core.errors import RedisUnreachable, SettingError
from watcher.core.private_files import make_private
from watcher.core.settings import Settings, masked
from watcher.dev.plan import Address, Urls, plan
from watcher.dev.valkey import EmbeddedError, EmbeddedValkey
from watcher.journal.configured import backend_target, broker_target, broker_urls, journal_target
from watcher.journal.connect import PROBE, Target

__all__ = ["provide_redis"]

logger = logging.getLogger(__name__)

#: What the relay's archive is called, with what SQLite keeps beside it.
_ARCHIVE: Final = "archive.db"
#: Subdirectory of the data of the server at a free port; the others' are named by their port.
_ELSEWHERE: Final = "elsewhere"
_LOCKED: Final = (
    "the relay requires tokens, so that Valkey requires a password, which worker and relay have; "
    "for programs of yours put one into the app's URL: redis://:PASSWORD@HOST/0"
)


def provide_redis(
    settings: Settings, app: Celery, data: Path | None, stack: ExitStack, say: Callable[[str], None]
) -> list[EmbeddedValkey]:
    """Start the required embedded servers for as long as the stack, and point this process's app at them.

    If the relay requires tokens, the servers require a password: the app's own, or else a generated one, which goes
    into this process's environment for itself and its children.

    :param data: directory of their append-only files; None: their data is lost at the end.
    :param say: prints a line for the user.
    :raises RedisUnreachable: the Redis that the user named doesn't answer, or an embedded one can't start.
    :raises SettingError: a setting's Redis URL is invalid, or an embedded server can't replace it.
    """
    named = Target.of(settings.redis_url, "WATCHER_REDIS_URL") if settings.redis_url is not None else None
    if named is not None and not answers(named):
        raise RedisUnreachable(f"no Redis answers at {named}")
    urls, targets = configured(settings, _as_now(app))
    password = secrets.token_urlsafe(24) if settings.guarded else None
    decided = plan(urls, lambda url: answers(targets.get(url) or Target.of(url.split(";")[0])), password)
    for use in decided.moved:
        _may_move(use, app)
    for note in decided.notes:
        say(note)
    if data is not None:
        _keep_private(data)
    try:
        servers = [stack.enter_context(_stand_in(address, data)) for address in decided.stand_ins]
        if decided.elsewhere is not None:
            folder = data / _ELSEWHERE if data else None
            elsewhere = stack.enter_context(EmbeddedValkey(data=folder, databases=decided.elsewhere, password=password))
            servers.append(elsewhere)
            at = functools.partial(_address_for, app, elsewhere, password)
            say(f"that embedded Valkey is at {masked(at(0))}")
            os.environ.update(decided.environment(at))
        elif decided.locked:
            os.environ.update(decided.environment(str))
    except EmbeddedError as error:
        raise RedisUnreachable(str(error)) from error
    if decided.locked or (decided.moved and password):
        say(_LOCKED)
    if servers:
        say(f"its data stays in {data}" if data else "its data is lost at the end; keep it with --data DIR")
    return servers


def _as_now(app: Celery) -> Celery:
    """An app that is configured as ``app`` is, to be asked: it keeps the result backend that it was asked for first."""
    asked = Celery(app.main, loader=app.loader_cls, set_as_current=False)
    asked.conf, asked.backend_cls = app.conf, app.backend_cls
    return asked


def _is_ours(path: Path) -> bool:
    return path.name.isdigit() or path.name == _ELSEWHERE or path.name.startswith(_ARCHIVE)


def _keep_private(data: Path) -> None:
    """Close the data directory to other users, unless it holds other files; then warn if they could replace it.

    :raises RedisUnreachable: it can't be made.
    """
    try:
        others = data.exists() and not all(map(_is_ours, data.iterdir()))
        mode = data.stat().st_mode if others else 0
        wrong = [] if others else make_private(data)
    except OSError as error:
        raise RedisUnreachable(f"--data: can't store data in {data}: {error.strerror}") from None
    if mode & (stat.S_IWOTH | stat.S_IWGRP) and not mode & stat.S_ISVTX:
        wrong.append(f"{data} can be changed by other users, and so can the data in it")
    for line in wrong:
        logger.warning("%s", line)


def configured(settings: Settings, app: Celery) -> tuple[Urls, dict[str, Target]]:
    """The URLs that app and user have configured, and the targets of those that name a Redis.

    :raises SettingError: a Redis URL is invalid.
    """
    conf = app.conf
    # What is read from and what is written to may be two brokers: both are judged, as those to fail over to are.
    brokers = dict.fromkeys(broker_urls(conf.broker_read_url) + broker_urls(conf.broker_write_url))
    first, stored = broker_target(app), backend_target(app)
    broker = first.url if first is not None and len(brokers) < 2 else ";".join(brokers) or None
    backend = stored.url if stored is not None else str(conf.result_backend or "") or None
    try:
        journal: Target | None = journal_target(settings, app)
    except SettingError as error:
        if error.name != "WATCHER_REDIS_URL":
            raise
        journal = None  # nothing of the app's is a Redis: the plan finds a place
    by_url = {broker: first, backend: stored, journal.url if journal is not None else None: journal}
    targets = {url: target for url, target in by_url.items() if url is not None and target is not None}
    return Urls(settings.redis_url, broker, backend, journal.url if journal is not None else None), targets


def answers(target: Target) -> bool:
    """Whether a Redis answers there. One that refuses us or is still loading does; the later error says why."""
    try:
        with target.client(PROBE) as redis:
            redis.ping()
    except (AuthenticationError, BusyLoadingError):
        return True
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return False
    except (RedisError, ValueError):
        return True
    return True


#: Settings by which Celery needs of any Redis what an embedded one lacks: TLS, a credential provider.
_KEPT: Final = {
    "broker": ("broker_use_ssl",),
    "result backend": ("redis_backend_use_ssl", "redis_backend_credential_provider"),
}
_NO_STAND_IN: Final = (
    "an embedded Valkey can't replace a Redis that uses it: name a running one with --redis-url, or remove it"
)


def _may_move(use: str, app: Celery) -> None:
    """Check that Celery could use an embedded server by its URL.

    :raises SettingError: a setting of the app's prevents it.
    """
    for name in _KEPT.get(use, ()):
        if app.conf.get(name):
            raise SettingError(name, "…", _NO_STAND_IN)


def _address_for(app: Celery, server: EmbeddedValkey, password: str | None, database: int) -> str:
    """The URL of an embedded server's database for an app; with any password where Celery would use the app's own.

    A Redis without a password takes every one for its default user, and none without a name.
    """
    url = server.url(database)
    if password is not None:
        return url.replace("://", f"://default:{password}@", 1)
    own = any(app.conf.get(name) for name in ("redis_username", "redis_password", "broker_user", "broker_password"))
    return url.replace("://", "://default:any@", 1) if own else url


def _stand_in(address: Address, data: Path | None) -> EmbeddedValkey:
    return EmbeddedValkey(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        data=data / str(address.port) if data else None,
        databases=address.databases,
    )

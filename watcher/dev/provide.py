"""Carries out the plan of `watcher up`: asks which Redis answers, and starts the embedded servers."""

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

#: Of the directory for data, the part of the server that listens at no address of the app's. Others have their port's.
_ELSEWHERE: Final = "elsewhere"
_LOCKED: Final = (
    "since the relay wants tokens, that Valkey wants a password, which worker and relay are given; "
    "for programs of yours put one into the app's URL: redis://:PASSWORD@HOST/0"
)


def provide_redis(
    settings: Settings, app: Celery, data: Path | None, stack: ExitStack, say: Callable[[str], None]
) -> list[EmbeddedValkey]:
    """Start the embedded servers that are needed, for as long as the stack, and point this process's app at them.

    Where the relay asks for tokens the servers ask for a password: the app's own, else one that is made here, and goes
    into this process's environment, for itself and its children.

    :param data: directory of their append-only files; None: they forget at the end.
    :param say: tells the user a line.
    :raises RedisUnreachable: the Redis that the user named doesn't answer, or an embedded one can't be started.
    :raises SettingError: a setting names a Redis, and can't be understood, or no embedded one can take its place.
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
    if data is not None and (decided.stand_ins or decided.elsewhere is not None):
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
        say(f"its data stays in {data}" if data else "it forgets everything at the end; --data DIR would keep it")
    return servers


def _as_now(app: Celery) -> Celery:
    """An app that is configured as ``app`` is, to be asked: it keeps the result backend that it was asked for first."""
    asked = Celery(app.main, loader=app.loader_cls, set_as_current=False)
    asked.conf, asked.backend_cls = app.conf, app.backend_cls
    return asked


def _keep_private(data: Path) -> None:
    """Close the directory for data to others where it holds nothing else; else say who could take its place.

    :raises RedisUnreachable: it can't be made.
    """
    try:
        others = data.exists() and any(not each.name.isdigit() and each.name != _ELSEWHERE for each in data.iterdir())
        mode = data.stat().st_mode if others else 0
        wrong = [] if others else make_private(data)
    except OSError as error:
        raise RedisUnreachable(f"--data: nothing can be kept in {data}: {error.strerror}") from None
    if mode & (stat.S_IWOTH | stat.S_IWGRP) and not mode & stat.S_ISVTX:
        wrong.append(f"{data} can be changed by other users, and so can what is in it")
    for line in wrong:
        logger.warning("%s", line)


def configured(settings: Settings, app: Celery) -> tuple[Urls, dict[str, Target]]:
    """The URLs that app and user have configured, and what is behind those that name a Redis.

    :raises SettingError: one of them names a Redis and can't be understood.
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
    found = {broker: first, backend: stored, journal.url if journal is not None else None: journal}
    targets = {url: target for url, target in found.items() if url is not None and target is not None}
    return Urls(settings.redis_url, broker, backend, journal.url if journal is not None else None), targets


def answers(target: Target) -> bool:
    """Whether a Redis answers there. One that refuses us or is still loading does; what fails then says why."""
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


#: What Celery does at a Redis whatever its URL says, and an embedded one doesn't: speak TLS, believe a provider.
_KEPT: Final = {
    "broker": ("broker_use_ssl",),
    "result backend": ("redis_backend_use_ssl", "redis_backend_credential_provider"),
}
_NO_STAND_IN: Final = (
    "no embedded Valkey can take the place of a Redis with it: name one that answers by --redis-url, or leave it out"
)


def _may_move(use: str, app: Celery) -> None:
    """See whether Celery could use an embedded server by its URL.

    :raises SettingError: a setting of the app's keeps it from that.
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

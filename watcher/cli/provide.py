"""Carries out the plan of `watcher up`: asks which Redis answers, and starts the embedded servers."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from watcher.cli.options import say
from watcher.cli.plan import Address, Urls, plan
from watcher.cli.serve import journal_url
from watcher.embedded import Embedded, EmbeddedError
from watcher.errors import RedisUnreachable, SettingError
from watcher.settings import Settings, masked

__all__ = ["provide_redis"]


def provide_redis(settings: Settings, app: Celery, data: Path | None, stack: ExitStack) -> list[Embedded]:
    """Start the embedded servers that are needed, for as long as the stack, and point this process's app at them.

    :param data: directory of their append-only files; None: they forget at the end.
    :raises RedisUnreachable: the Redis that the user named doesn't answer, or an embedded one can't be started.
    """
    if settings.redis_url is not None and not answers(settings.redis_url):
        raise RedisUnreachable(f"no Redis answers at {masked(settings.redis_url)}")
    decided = plan(configured(settings, app), answers)
    for note in decided.notes:
        say(note)
    try:
        servers = [stack.enter_context(_stand_in(address, data)) for address in decided.stand_ins]
        if decided.elsewhere is not None:
            folder = data / "elsewhere" if data else None
            elsewhere = stack.enter_context(Embedded(data=folder, databases=decided.elsewhere))
            servers.append(elsewhere)
            say(f"that embedded Valkey is at {elsewhere.url()}")
            os.environ.update(decided.environment(elsewhere.url))
    except EmbeddedError as error:
        raise RedisUnreachable(str(error)) from error
    if servers:
        say(f"its data stays in {data}" if data else "it forgets everything at the end; --data DIR would keep it")
    return servers


def configured(settings: Settings, app: Celery) -> Urls:
    """The URLs that app and user have configured.

    :raises SettingError: the app's ``watcher_redis_url`` is not accepted.
    """
    broker = app.conf.broker_read_url
    if isinstance(broker, list | tuple):
        broker = ";".join(broker)
    try:
        journal: str | None = journal_url(settings, app)
    except SettingError as error:
        if error.name != "WATCHER_REDIS_URL":
            raise
        journal = None  # nothing of the app's is a Redis: the plan finds a place
    return Urls(settings.redis_url, broker or None, app.conf.result_backend or None, journal)


def answers(url: str) -> bool:
    """Whether a Redis answers there. One that refuses us or is still loading does; what fails then says why."""
    scheme, _, rest = url.split(";", maxsplit=1)[0].partition("://")
    if scheme in ("redis+socket", "socket"):  # as Celery writes what redis-py calls unix
        scheme = "unix"
    try:
        retry = Retry(NoBackoff(), 0)
        with Redis.from_url(f"{scheme}://{rest}", socket_connect_timeout=1, socket_timeout=1, retry=retry) as redis:
            redis.ping()
    except (AuthenticationError, BusyLoadingError):
        return True
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return False
    except (RedisError, ValueError):
        return True
    return True


def _stand_in(address: Address, data: Path | None) -> Embedded:
    return Embedded(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        data=data / str(address.port) if data else None,
        databases=address.databases,
    )

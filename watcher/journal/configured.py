"""Which Redis an app's configuration names, as Celery reads it: its result backend, its broker, and the journal's.

Celery takes a connection's parameters from the URL and from a dozen settings (``redis_password``,
``broker_use_ssl``, …), and what wins has changed between its versions. So it is asked: the backend has what it connects
with, and the broker's connection all that its Redis transport makes it of (kombu/transport/redis.py,
``Channel._connparams``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Celery
from celery.exceptions import ImproperlyConfigured
from kombu.utils.url import url_to_parts

from watcher.core.errors import SettingError
from watcher.core.settings import Settings, masked
from watcher.journal.connect import Target, understood

__all__ = ["backend_target", "broker_target", "broker_urls", "journal_target"]

_FAILOVERS: Final = (
    "the journal stays at the first of the broker's addresses ({}), and does not fail over to the others"
)
#: URLs by which Celery's settings name a single Redis.
_ONE_REDIS: Final = re.compile(r"rediss?(\+socket)?://", re.IGNORECASE)
#: A result backend without a URL: host, port and the rest have settings of their own (``redis_host``, …).
_NAMES: Final = ("redis", "rediss")


def journal_target(settings: Settings, app: Celery | None) -> Target:
    """Which Redis holds the journal, by settings and app.

    :raises SettingError: none of them names one, or the one that is named can't be understood.
    """
    if settings.redis_url:
        return Target.of(settings.redis_url, "WATCHER_REDIS_URL")
    if app is not None:
        if named := app.conf.get("watcher_redis_url"):
            return Target.of(str(named), "watcher_redis_url")
        if (target := backend_target(app) or broker_target(app)) is not None:
            return target
    why = (
        "there is no app (-A) to say where the journal is"
        if app is None
        else "neither the app's result backend nor its broker is a usable Redis (sentinel:// and clusters are not)"
    )
    raise SettingError("WATCHER_REDIS_URL", None, f"{why}, so name a Redis: redis://HOST/0")


def backend_target(app: Celery) -> Target | None:
    """The Redis that an app's results are kept in; None where that isn't one Redis.

    :raises SettingError: it is one, but Celery or redis-py can't use its configuration.
    """
    url = str(app.conf.result_backend or "")
    if not _ONE_REDIS.match(url) and url not in _NAMES:
        return None
    try:
        if url not in _NAMES:
            understood(url)
        _see_certificates(app.conf.redis_backend_use_ssl)
        parameters = getattr(app.backend, "connparams", None)
    except Exception as error:  # noqa: BLE001 - whatever Celery, or a class of the app's, raises of a wrong setting
        raise SettingError("result_backend", masked(url), _line(error)) from None
    if not isinstance(parameters, dict):  # a class of the app's own in the place of Celery's
        return Target.of(url, "result_backend")
    return Target.of_celery(parameters, "result_backend", masked(url))


def _see_certificates(options: object) -> None:
    if options and not isinstance(options, Mapping):
        raise ValueError("redis_backend_use_ssl must be a dictionary of ssl_… options: Celery accepts nothing else")


def broker_target(app: Celery) -> Target | None:
    """The Redis that an app's tasks are sent to, the first one where it may fail over; None where that isn't a Redis.

    :raises SettingError: it is one, but Celery or redis-py can't use its configuration.
    """
    urls = broker_urls(app.conf.broker_write_url)
    first = urls[0] if urls else ""
    if not (_ONE_REDIS.match(first) or (app.conf.broker_transport == "redis" and "://" not in first)):
        return None
    try:
        if "://" in first:
            understood(first)
        parameters = _broker_parameters(app, tls=first.lower().startswith("rediss"))
    except Exception as error:  # noqa: BLE001 - as above
        raise SettingError("broker_url", masked(first), _line(error)) from None
    note = _FAILOVERS.format(masked(first)) if len(urls) > 1 else ""
    return Target.of_celery(parameters, "broker_url", masked(first), note)


def broker_urls(urls: object) -> list[str]:
    """The URLs of a broker, in the order in which Celery tries them: given as a list, or joined by ``;``."""
    texts = urls if isinstance(urls, Sequence) and not isinstance(urls, str) else [str(urls or "")]
    return [url for text in texts for url in str(text).split(";") if url]


def _broker_parameters(app: Celery, *, tls: bool) -> dict[str, Any]:
    """What Celery's Redis transport would hand to redis-py, as far as it says where and as whom.

    :param tls: whether the URL says so.
    """
    connection: Any = app.connection_for_write()  # connects to nothing
    transport: Any = connection.get_transport_cls()
    parameters: dict[str, Any] = {
        "host": connection.hostname or "127.0.0.1",
        "port": connection.port or transport.default_port,
        "username": connection.userid,
        "password": connection.password,
        "credential_provider": getattr(connection, "credential_provider", None),  # since kombu 5.6
    }
    database: Any = connection.virtual_host
    if isinstance(connection.ssl, dict):
        if strange := [str(key) for key in connection.ssl if not str(key).startswith("ssl_")]:
            raise ValueError(f"broker_use_ssl takes redis-py's names, such as ssl_ca_certs, not {', '.join(strange)}")
        parameters.update(connection.ssl)
        parameters["connection_class"] = transport.Channel.connection_class_ssl
    elif tls:  # Celery sends the password as it is then
        raise ValueError(
            "broker_use_ssl must be a dictionary of ssl_… options for rediss://: Celery speaks TLS with nothing else"
        )
    if "://" in parameters["host"]:
        parts = url_to_parts(parameters["host"])
        for name in ("host", "port", "connection_class"):
            parameters.pop(name, None)
        parameters.update(path=f"/{parts.path}", username=parts.username, password=parts.password, **parts.query)
        database = parameters.pop("virtual_host", database)
    provider = parameters.pop("credential_provider", None)
    if provider:
        parameters["credential_provider"] = _provider(provider)
        parameters["username"] = parameters["password"] = None
    text = str(database or 0).strip("/") or "0"
    if not text.isdigit():
        raise ValueError(f"the database must be a number, not {text!r}")
    return {**parameters, "db": int(text)}


def _provider(provider: Any) -> Any:
    from kombu.utils.imports import symbol_by_name  # noqa: PLC0415 - rarely needed

    return symbol_by_name(provider)() if isinstance(provider, str) else provider


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | ImproperlyConfigured) and text else f"{type(error).__name__}: {text}"

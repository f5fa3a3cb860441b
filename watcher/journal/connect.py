"""One database of one Redis, and how it is reached: the one record that everything opens its connections from.

It comes from a URL of the project's own (:meth:`Target.of`), or from what Celery itself makes of an app's configuration
(:mod:`watcher.journal.configured`). Time-outs, retries and the version of Redis' protocol are the opener's to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redis import Connection, ConnectionPool, RedisError, SSLConnection, UnixDomainSocketConnection
from redis.connection import parse_url

from watcher.core.errors import SettingError
from watcher.core.settings import masked, setting

__all__ = ["Road", "Target", "target_of", "understood"]

#: How a server is reached: TCP, TLS, or a socket of this machine's.
Road: TypeAlias = Literal["tcp", "tls", "unix"]

_KINDS: Final[dict[Road, type[Any]]] = {"tcp": Connection, "tls": SSLConnection, "unix": UnixDomainSocketConnection}
_SCHEMES: Final[dict[str, Road]] = {
    "redis": "tcp", "rediss": "tls", "unix": "unix", "redis+socket": "unix", "socket": "unix"
}  # fmt: skip
#: Which server, and as whom: what is taken of Celery's parameters, with all that begins with ``ssl_``.
_WHERE: Final = ("host", "port", "path", "db", "username", "password", "credential_provider")
#: What a URL may say and has no say in: how a client of this project's reads, and how often it tries.
_OURS: Final = (
    "connection_class", "decode_responses", "encoding", "encoding_errors", "legacy_responses", "max_connections",
    "parser_class", "protocol", "retry", "retry_on_error", "retry_on_timeout", "timeout",
)  # fmt: skip
_TCP: Final = ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options")
_PORT: Final = 6379
_PORTS: Final = "a port from 0 to 65535; in a password, write '/', '?', '#' and '@' as %2F, %3F, %23 and %40"
_DATABASE: Final = "the number of a database: redis://HOST/0"


@dataclass(frozen=True, slots=True)
class Target:
    """One database of one Redis.

    :param road: how the server is reached.
    :param options: redis-py's for a connection: where, as whom, and by which certificates.
    :param note: what of the configuration can't be honoured, in one line for the log; empty where all is.
    """

    road: Road
    options: Mapping[str, Any] = field(repr=False)
    note: str = ""

    @classmethod
    def of(cls, url: str, name: str = "the URL") -> Target:
        """What a URL names, with redis-py's options in its query.

        :param url: ``redis://``, ``rediss://``, ``unix://``, or Celery's ``redis+socket://``.
        :param name: what it came from, variable or option, for the message.
        :raises SettingError: it can't be understood, wholly.
        """
        try:
            road, own = _own(url)
            options: dict[str, Any] = dict(parse_url(own))  # type: ignore[no-untyped-call]  # redis-py's
        except ValueError as error:
            raise SettingError(name, masked(url), str(error)) from None
        return cls.checked(road, options, name, masked(url))

    @classmethod
    def of_celery(cls, parameters: Mapping[str, Any], name: str, shown: str, note: str = "") -> Target:
        """What Celery hands to redis-py for a connection: its server, its user and its certificates.

        :param name: the setting of Celery's that it comes from; ``shown``: its value, for the message.
        :raises SettingError: redis-py doesn't take it.
        """
        kind = parameters.get("connection_class") or Connection
        road: Road = "unix" if "path" in parameters else "tls" if issubclass(kind, SSLConnection) else "tcp"
        taken = {key: value for key, value in parameters.items() if key in _WHERE or key.startswith("ssl_")}
        return cls.checked(road, taken, name, shown, note)

    @classmethod
    def checked(cls, road: Road, options: Mapping[str, Any], name: str, shown: str, note: str = "") -> Target:
        """A target whose options redis-py takes, as it says itself.

        :raises SettingError: it doesn't.
        """
        # Of a certificate, None is a level: it is not looked at.
        stated = {key: value for key, value in options.items() if value is not None or key.startswith("ssl_")}
        kept = {key: value for key, value in stated.items() if key not in _OURS}
        try:
            _KINDS[road](**kept)  # connects to nothing
        except (TypeError, ValueError, RedisError) as error:
            unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            why = f"{_scheme(road)}:// does not accept {unknown[1]}" if unknown else str(error)
            raise SettingError(name, shown, why) from None
        return cls(road, kept, note)

    @property
    def database(self) -> int:
        """Number of the database."""
        return int(self.options.get("db") or 0)

    @property
    def server(self) -> tuple[Any, ...]:
        """The same for all databases of one server."""
        if self.road == "unix":
            return (self.options.get("path"),)
        return (self.options.get("host", "localhost"), self.options.get("port", _PORT))

    @property
    def url(self) -> str:
        """A URL that names it, password included; without what is said of certificates."""
        username, password = self.options.get("username"), self.options.get("password")
        user = quote(str(username), safe="") if username else ""
        secret = f":{quote(str(password), safe='')}" if password else ""
        who = f"{user}{secret}@" if user or secret else ""
        if self.road == "unix":
            return f"unix://{who}{self.options.get('path', '')}?db={self.database}"
        host, port = self.server
        at = f"[{host}]" if ":" in str(host) else host
        if port != _PORT:
            at = f"{at}:{port}"
        return f"{_scheme(self.road)}://{who}{at}/{self.database}"

    def __str__(self) -> str:
        """The URL with its password hidden, fit for a log."""
        return masked(self.url)

    def pool(self, **own: Any) -> ConnectionPool:
        """A pool of blocking connections; it connects to nothing yet.

        :param own: the opener's options of redis-py's; what the URL's query says goes before them.
        """
        options = {**own, **self.options}
        if self.road == "unix":  # redis-py takes these for TCP only
            options = {name: value for name, value in options.items() if name not in _TCP}
        return ConnectionPool(connection_class=_KINDS[self.road], **options)


def target_of(given: Target | str) -> Target:
    """``given``, or what it names as a URL.

    :raises SettingError: it is a URL that can't be understood.
    """
    return given if isinstance(given, Target) else Target.of(given)


def understood(url: str) -> int:
    """The number of the database that a URL of one Redis names; its other parts are looked at too.

    redis-py passes over what it doesn't understand of them, and takes database 0 then: what belongs elsewhere would be
    read and written there. And what it says of a wrong port may be a part of the password.

    :raises ValueError: something of it can't be understood; with what is accepted.
    """
    parts = urlsplit(url)
    if ";" in parts.netloc or "://" in parts.path:
        raise ValueError("one Redis, without addresses to fail over to")
    if parts.fragment:
        raise ValueError("a URL without '#'; in a password, write it as %23")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(_PORTS) from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = query.get("virtual_host") or query.get("db")
    if _SCHEMES.get(parts.scheme) == "unix":
        if not parts.path.strip("/"):
            raise ValueError("the path of a socket: unix:///run/redis.sock?db=0")
    else:
        database = database or unquote(parts.path).strip("/")
    database = (database or "0").strip("/")
    if not (database.isascii() and database.isdigit()):
        raise ValueError(_DATABASE)
    return int(database)


def _scheme(road: Road) -> str:
    return {"tcp": "redis", "tls": "rediss", "unix": "unix"}[road]


def _own(url: str) -> tuple[Road, str]:
    """How a server is reached, and the URL as redis-py has it.

    :raises ValueError: something of it can't be understood.
    """
    parts = urlsplit(url)
    if (road := _SCHEMES.get(parts.scheme)) is None:
        raise ValueError(setting("redis_url").accepted)
    database = understood(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.pop("virtual_host", None)
    if "credential_provider" in query:
        raise ValueError("a URL without credential_provider; only the app's own result backend and broker may have one")
    # Celery's words for what redis-py calls required, optional and none.
    if (level := query.get("ssl_cert_reqs", "")).startswith("CERT_"):
        query["ssl_cert_reqs"] = level.removeprefix("CERT_").lower()
    path = parts.path if road == "unix" else ""
    return road, f"{_scheme(road)}://{parts.netloc}{path}?{urlencode({**query, 'db': database})}"

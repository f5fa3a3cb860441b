"""One database of one Redis, and every way of opening a connection to it.

A URL of the project's own says which Redis it is (:meth:`Target.of`), or what Celery itself makes of an app's
configuration (:mod:`watcher.journal.configured`). Whoever connects says what for, by a :class:`Purpose`: that has the
time-outs. Protocol and retries are the same for all: RESP2, and none. Connections for an event loop are opened by
:mod:`watcher.journal.connect_async`, which a worker doesn't load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redis import Connection, ConnectionPool, Redis, RedisError, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from watcher.core.errors import SettingError
from watcher.core.settings import masked, setting

__all__ = ["ASK", "FOLLOW", "HEARTBEAT", "PROBE", "PUBLISH", "Purpose", "Road", "Target", "target_of", "understood"]

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
#: Replies are short, or taken as they are: RESP3 would only add to the handshake.
_PROTOCOL: Final = 2


@dataclass(frozen=True, slots=True)
class Purpose:
    """The purpose of connections. Time-outs and name in their URL's query take precedence.

    No connection retries by itself: its user knows whether to, and how long to wait.

    :param timeout: for connecting, and for each answer, in seconds.
    :param name: what the server calls them (CLIENT LIST).
    :param keepalive: whether the kernel finds out that the server is gone while nothing is asked.
    :param read_size: bytes that are read at once at most; None: as many as redis-py does.
    """

    timeout: float
    name: str | None = None
    keepalive: bool = False
    read_size: int | None = None

    def options(self) -> dict[str, Any]:
        """The same as redis-py's options, without retries: blocking connections have another class for these."""
        stated = {
            "client_name": self.name,
            "socket_keepalive": self.keepalive or None,
            "socket_read_size": self.read_size,
        }
        times = {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout}
        return {"protocol": _PROTOCOL, **times, **{name: value for name, value in stated.items() if value is not None}}


#: A process's events: often nothing is sent for a long time.
PUBLISH: Final = Purpose(timeout=2.0, name="watcher-publisher", keepalive=True)
#: A worker's signs of life: one is useless once the next is due.
HEARTBEAT: Final = Purpose(timeout=2.0)
#: Whether a Redis answers at all, asked on this machine as a rule.
PROBE: Final = Purpose(timeout=1.0)
#: What a relay reads on its own account. The more it reads at once, the more of a client's events share a frame.
FOLLOW: Final = Purpose(timeout=2.0, read_size=1024 * 1024)
#: What somebody waits for: submissions, results.
ASK: Final = Purpose(timeout=2.0)


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
        """The target that a URL names, with redis-py's options in its query.

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
        parameters = {key: value for key, value in stated.items() if key not in _OURS}
        try:
            _KINDS[road](**parameters)  # connects to nothing
        except (TypeError, ValueError, RedisError) as error:
            unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            why = f"{_scheme(road)}:// does not accept {unknown[1]}" if unknown else str(error)
            raise SettingError(name, shown, why) from None
        return cls(road, parameters, note)

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

    def client(self, purpose: Purpose) -> Redis:
        """A client of blocking connections; it connects to nothing yet. Leaving it as a context closes them."""
        return Redis.from_pool(self._pool(purpose))

    def connection(self, purpose: Purpose) -> Any:
        """One blocking connection, of redis-py's, which has no types of its own; it connects when it is used."""
        return self._pool(purpose).make_connection()

    def _pool(self, purpose: Purpose) -> ConnectionPool:
        options = {**purpose.options(), "retry": Retry(NoBackoff(), 0), **self.options}
        if self.road == "unix":  # redis-py takes these for TCP only
            options = {name: value for name, value in options.items() if name not in _TCP}
        return ConnectionPool(connection_class=_KINDS[self.road], **options)


def target_of(redis: Target | str) -> Target:
    """``redis``, or what it names as a URL.

    :raises SettingError: it is a URL that can't be understood.
    """
    return redis if isinstance(redis, Target) else Target.of(redis)


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

"""Which Redis `watcher up` uses for what: a decision over URLs, without I/O.

An app has up to three uses of Redis: broker, result backend and journal. For development on one machine a Redis is used
only where it is on loopback, or where the user has named it (`--redis-url`). An app that is configured for production
must not have its queues emptied because somebody typed `watcher up`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from watcher.core.loopback import is_loopback
from watcher.core.settings import masked
from watcher.journal.connect import understood

__all__ = ["Address", "Plan", "Urls", "plan"]

#: Variables that override the app's URLs: Celery's own win over every configuration of the app.
_VARIABLES: Final = {
    "broker": ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"),
    "result backend": ("CELERY_RESULT_BACKEND",),
    "journal": ("WATCHER_REDIS_URL",),
}
_REDIS: Final = ("redis", "rediss", "redis+socket", "unix", "socket", "sentinel")
_SOCKETS: Final = ("unix", "socket", "redis+socket")
#: Two names of the same address.
_SAME: Final = ("localhost", "127.0.0.1")
_DEFAULT_PORT: Final = 6379
_DATABASES: Final = 16


@dataclass(frozen=True, slots=True)
class Urls:
    """The URLs that app and user have configured; None if there is none.

    :param named: ``--redis-url`` or ``WATCHER_REDIS_URL``.
    :param journal: URL of the journal without a plan; None if nothing names a Redis.
    """

    named: str | None
    broker: str | None
    backend: str | None
    journal: str | None


@dataclass(frozen=True, slots=True)
class Address:
    """Where an embedded server must listen, so that the app's own URL reaches it."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    databases: int = _DATABASES


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and what to override.

    :param stand_ins: addresses of the app's where nothing answers.
    :param elsewhere: number of databases of another embedded server, on a free port; None if none is needed.
    :param moved: use → database on the server elsewhere.
    :param notes: a line per use that says which Redis it has.
    :param locked: use → its URL with the password of its stand-in, which the app's own URL lacks.
    """

    stand_ins: tuple[Address, ...]
    elsewhere: int | None
    moved: dict[str, int]
    notes: tuple[str, ...]
    locked: dict[str, str] = field(default_factory=dict, repr=False)

    def environment(self, url: Callable[[int], str]) -> dict[str, str]:
        """Variables that point the moved uses at the server elsewhere, whose databases have these URLs, and the locked
        uses at their stand-in.
        """
        urls = self.locked | {use: url(database) for use, database in self.moved.items()}
        return {name: use_url for use, use_url in urls.items() for name in _VARIABLES[use]}


def plan(urls: Urls, answers: Callable[[str], bool], password: str | None = None) -> Plan:
    """Decide for each use.

    :param answers: whether a Redis answers at a URL; called for loopback addresses only.
    :param password: a stand-in's password if the app's URL has none; None: no password.
    """
    stand_ins: dict[tuple[str, int], Address] = {}
    standing: dict[str, tuple[str, int]] = {}
    moved: dict[str, int] = {}
    notes: dict[str, None] = {}
    uses = {"broker": urls.broker, "result backend": urls.backend, "journal": urls.journal}
    for use, url in uses.items():
        if url is None:
            if use == "journal":
                moved[use] = 0
                notes["the app has no Redis, so the journal is in an embedded Valkey"] = None
            continue
        if not _is_redis(url):
            notes[f"the app's {use} is {_shown(url)}, and is used unchanged"] = None
        elif _is_named(url, urls.named):
            continue
        elif _is_local(url) and not _is_sentinel(url) and answers(url):
            notes[f"{use}: Redis at {_shown(url)}"] = None
        elif (address := _address(url)) is not None:
            server = ("localhost" if address.host in _SAME else address.host, address.port)
            stand_ins[server] = _wider(address, stand_ins.get(server))
            standing[use] = server
            notes[f"{use}: no Redis answers at {_shown(_first(url))}, so an embedded Valkey starts there"] = None
        else:
            moved[use] = _database(_first(url))
            notes[f"{use}: an embedded Valkey instead of {_shown(url)}, which {_why_not(url)}"] = None
    elsewhere = _count(moved.values()) if moved else None
    locked: dict[str, str] = {}
    for use, server in standing.items():
        if password is not None and stand_ins[server].password in (None, password):
            stand_ins[server] = replace(stand_ins[server], password=password)
            locked[use] = _locked(uses[use] or "", password)
    return Plan(tuple(stand_ins.values()), elsewhere, moved, tuple(notes), locked)


def _is_redis(url: str) -> bool:
    return url.partition("://")[0] in _REDIS


def _is_sentinel(url: str) -> bool:
    return url.startswith("sentinel:")


def _why_not(url: str) -> str:
    if not _is_local(url):
        return "is not on this machine; name it with --redis-url to use it"
    return "only names a Redis, and isn't contacted" if _is_sentinel(url) else "doesn't answer"


def _first(url: str) -> str:
    return url.split(";", maxsplit=1)[0]


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme in _SOCKETS:
        return True
    # Several, separated by ";", are Celery's list to fail over to: judged by all.
    return all(is_loopback(urlsplit(node).hostname or "localhost") for node in url.split(";"))


def _is_named(url: str, named: str | None) -> bool:
    if named is None:
        return False
    return all(_server(node) == _server(named) for node in url.split(";"))


def _server(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme in _SOCKETS:
        return parts.path, 0
    return parts.hostname or "localhost", parts.port or _DEFAULT_PORT


def _address(url: str) -> Address | None:
    """Where a plain loopback URL points; None for what an embedded server can't stand in for.

    Of several it is the first, which Celery tries before the others, and which the journal is at.
    """
    parts = urlsplit(_first(url))
    if parts.scheme != "redis" or not _is_local(url):
        return None
    return Address(
        host=parts.hostname or "localhost",
        port=parts.port or _DEFAULT_PORT,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        databases=_count([_database(_first(url))]),
    )


def _locked(url: str, password: str) -> str:
    """The URL with this password; of several, the first one."""
    first, semicolon, others = url.partition(";")
    scheme, _, rest = first.partition("://")
    end = min(at for mark in "/?#" if (at := f"{rest}{mark}".find(mark)) >= 0)
    user, _, host = rest[:end].rpartition("@")
    name = user.partition(":")[0]
    return f"{scheme}://{name}:{quote(password, safe='')}@{host or 'localhost'}{rest[end:]}{semicolon}{others}"


def _wider(address: Address, other: Address | None) -> Address:
    """One address for both, under whichever name it is looked for."""
    if other is None:
        return address
    host = address.host if address.host == other.host else "localhost"  # where an embedded server listens at both
    wider = address if other.databases < address.databases else other
    return replace(wider, host=host)


def _count(databases: Iterable[int]) -> int:
    return max(_DATABASES, *(number + 1 for number in databases))


def _shown(url: str) -> str:
    return "; ".join(masked(node) for node in url.split(";"))


def _database(url: str) -> int:
    try:
        return understood(url)
    except ValueError:  # Celery can't read it either; elsewhere it is nobody's but this app's
        return 0

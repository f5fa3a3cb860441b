"""Limits of clients: how many connections and subscriptions an address may have, and how fast clients may go. Pure.

The subscriptions of one connection are limited in :mod:`watcher.relay.websocket.records`.

Time is the event loop's, in seconds. A rate is a token bucket with one second's capacity, kept as one number: the time
at which the bucket will be full again (the generic cell rate algorithm, ITU-T I.371).
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from watcher.core.errors import Full, TooMany
from watcher.core.settings import Settings
from watcher.relay.common.stats import Stats
from watcher.relay.limits.fair_queue import FairQueue

__all__ = ["ACCOUNT", "COMMAND", "REQUEST", "AddressUsage", "Deadlines", "Limits", "RateLimiter", "network"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Under this name what a protocol is given as ``app_state`` has the account of the address that it comes from.
ACCOUNT: Final = "watcher.account"
#: Commands that an HTTP request counts as: it takes about as long.
REQUEST: Final = 20
#: Processor seconds that count as one command, for work that takes longer.
COMMAND: Final = 25e-6
#: Share of a processor up to which an address is served at once; those above it take turns …
_SHARE: Final = 0.05
#: … except for bursts of at most this many seconds of processor time.
_AT_ONCE_SECONDS: Final = 0.025
#: Seconds after its last activity during which a light client is expected to return.
_ALONE: Final = 2.0
#: Seconds after which a busy address is served at once again, at the latest.
_FORGIVEN: Final = 2.0
#: Seconds between log lines about the same limit.
_LOG_AGAIN: Final = 10.0
#: Tolerance of summed times, in seconds.
_EXACT: Final = 1e-6
#: Most deadlines that end at once, unless a hundredth of all is more: those that began together end in steps.
_AT_ONCE: Final = 10
#: Most subjects that are remembered; those at their full allowance needn't be.
_SUBJECTS: Final = 10_000


@functools.lru_cache(maxsize=1024)
def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which one user has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address


class AddressUsage:
    """The connections and usage of one address, kept while it has connections or unsettled usage.

    :param trusted: whether it is a trusted proxy, which has connections of many clients.
    """

    __slots__ = ("_full", "_limits", "_used", "address", "connections", "subscriptions", "trusted", "turns")

    def __init__(self, address: str, limits: Limits, *, trusted: bool) -> None:
        self._limits = limits
        self._full = 0.0
        self._used = 0.0  # when what it has taken beyond its share will be made up for
        self.address = address
        self.connections = 0
        self.subscriptions = 0
        self.turns = limits.turns
        self.trusted = trusted

    def charge(self, commands: float, now: float) -> None:
        """Charge commands."""
        if self.trusted:
            return
        self._full = max(now, self._full) + commands / self._limits.commands_per_address
        used = max(now, self._used) + commands * (COMMAND / _SHARE)
        self._used = min(used, now + _FORGIVEN)
        if used - now > _AT_ONCE_SECONDS / _SHARE:
            self.turns.spent += commands * COMMAND
        else:
            self.turns.served = now

    def spend(self, seconds: float, *, paced: bool = True) -> None:
        """Charge processor time.

        :param paced: whether it counts as commands, too; else it only makes the address wait for its turn.
        """
        now, full = self._limits.now(), self._full
        self.charge(seconds / COMMAND, now)
        if not paced:
            self._full = full

    def is_heavy(self, now: float) -> bool:
        """Whether it has done so much lately that it has to wait for its turn among others that have."""
        return self._used - now > _AT_ONCE_SECONDS / _SHARE

    @property
    def heavy(self) -> bool:
        """The same, now."""
        return self.is_heavy(self._limits.now())

    @property
    def alone(self) -> bool:
        """Whether nobody who has done little was there lately, who could be held up by it."""
        return self._limits.now() - self.turns.served > _ALONE

    def ahead(self, now: float) -> float:
        """Seconds that it must wait before the next command; 0 or less if none."""
        return self._full - now - 1.0

    @property
    def most(self) -> int | None:
        """Most subscriptions of its connections together; None: unlimited."""
        return None if self.trusted else self._limits.settings.max_subscriptions_per_address

    def has_room(self, count: int) -> bool:
        """Whether its connections may have this many more subscriptions."""
        return self.most is None or self.subscriptions + count <= self.most

    def hold(self, count: int) -> None:
        """Add subscriptions, or remove them with a negative number."""
        self.subscriptions += count

    def hand_over(self, address: str) -> AddressUsage:
        """The account of the client behind this proxy, which owns the connection from here on.

        :raises TooMany: that address has too many connections; nothing has changed.
        """
        return self._limits.hand_over(self, address)

    def leave(self) -> None:
        """One of its connections is gone."""
        self._limits.leave(self)


class RateLimiter:
    """The rate of one connection, by itself and together with the others of its address.

    :param rate: commands per second of this connection.
    :param account: None if the address isn't known.
    """

    __slots__ = ("_full", "_rate", "account")

    def __init__(self, rate: int, account: AddressUsage | None) -> None:
        self._full = 0.0
        self._rate = rate
        self.account = account

    def charge(self, commands: float, now: float) -> float:
        """Charge commands; returns :meth:`ahead`."""
        self._full = (max(now, self._full)) + commands / self._rate
        if self.account is not None:
            self.account.charge(commands, now)
        return self.ahead(now)

    def ahead(self, now: float) -> float:
        """Seconds that it must wait before the next command; 0 or less if none."""
        own = self.alone(now)
        return own if self.account is None else max(own, self.account.ahead(now))

    def alone(self, now: float) -> float:
        """The same for this connection alone, without the others of its address."""
        return self._full - now - 1.0

    def limit(self, now: float) -> str:
        """The setting that makes it wait."""
        return "max_commands" if self._full - now > 1.0 else "max_commands_per_address"


class Limits:
    """The limits of a relay, and the usage of each address.

    :param clock: the time, in seconds.
    """

    def __init__(self, settings: Settings, counts: Stats, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._counts = counts
        self._clock = clock
        self.turns = FairQueue()
        self._accounts: dict[str, AddressUsage] = {}
        self._left: set[AddressUsage] = set()
        self._connections = 0
        self._subjects: dict[str, float] = {}
        self._logged: dict[str, float] = {}
        self.commands_per_address = settings.max_commands_per_address

    # Connections.

    def enter(self, address: str) -> AddressUsage:
        """A connection has come; call :meth:`AddressUsage.leave` when it has gone.

        :raises TooMany: its address has too many connections.
        :raises Full: the relay has too many in all.
        """
        most = self.settings.max_connections
        if self._connections >= most:
            self.reached("max_connections", address)
            raise Full(f"the relay accepts {most} connections in all")
        account = self._account(network(address))
        self._join(account)
        self._connections += 1
        return account

    def hand_over(self, proxy: AddressUsage, address: str) -> AddressUsage:
        """A proxy's connection turns out to belong to a client."""
        account = self._account(network(address))
        self._join(account)
        self._quit(proxy)
        return account

    def leave(self, account: AddressUsage) -> None:
        """A connection has gone."""
        self._connections -= 1
        self._quit(account)

    def forget(self) -> None:
        """Remove the accounts without connections and unsettled usage."""
        now = self._clock()
        for account in [account for account in self._left if account.ahead(now) <= -1.0]:
            self._left.discard(account)
            if not account.connections:
                self._accounts.pop(account.address, None)

    def _account(self, key: str) -> AddressUsage:
        if (account := self._accounts.get(key)) is None:
            account = self._accounts[key] = AddressUsage(key, self, trusted=self._is_proxy(key))
            self._left.add(account)
        return account

    def _join(self, account: AddressUsage) -> None:
        most = self.settings.max_connections_per_address
        if account.connections >= most and not account.trusted:
            self.reached("max_connections_per_address", account.address)
            raise TooMany(f"the relay accepts {most} connections from one address")
        account.connections += 1

    def _quit(self, account: AddressUsage) -> None:
        account.connections -= 1
        if not account.connections:
            self._left.add(account)

    def _is_proxy(self, key: str) -> bool:
        try:
            address = ipaddress.ip_address(key.partition("/")[0])
        except ValueError:
            return False
        return any(address in network or key == str(network) for network in self.settings.trusted_proxies)

    # Requests and submissions.

    def now(self) -> float:
        """The time, in seconds."""
        return self._clock()

    def find(self, address: str) -> AddressUsage | None:
        """The account of an address, if it has one."""
        return self._accounts.get(network(address))

    @contextlib.contextmanager
    def request(self, address: str) -> Iterator[AddressUsage]:
        """A request that a proxy passed on; while it is answered, it counts as a connection of its client.

        Yields the client's account.

        :raises TooMany: the client has too many connections, or requests too often.
        """
        account, now = self._account(network(address)), self._clock()
        if (wait := account.ahead(now)) > 0:
            self.reached("max_commands_per_address", account.address)
            raise TooMany(f"more than {self.commands_per_address} commands per second", retry_after=wait)
        self._join(account)
        account.charge(REQUEST, now)
        try:
            yield account
        finally:
            self._quit(account)

    def submission(self, subject: str) -> None:
        """Count a submission.

        :param subject: the token's subject, or the address.
        :raises TooMany: too many within a second; says when to retry.
        """
        now, rate = self._clock(), self.settings.max_submissions
        full = max(self._subjects.pop(subject, 0.0), now)
        wait = full + 1 / rate - now - 1.0 - _EXACT
        self._subjects[subject] = full if wait > 0 else full + 1 / rate
        if len(self._subjects) > _SUBJECTS:
            del self._subjects[next(iter(self._subjects))]  # the one whose last submission is oldest
        if wait > 0:
            self.reached("max_submissions", subject)
            raise TooMany(f"more than {rate} submissions per second", retry_after=wait)

    # Reporting.

    def reached(self, limit: str, who: str) -> None:
        """Count that a limit was reached, and log it, once in a while for each limit.

        :param limit: field name of the setting.
        """
        self._counts.limits[limit] += 1
        now = self._clock()
        if now >= self._logged.get(limit, now):
            self._logged[limit] = now + _LOG_AGAIN
            value = getattr(self.settings, limit)
            logger.warning("%s reached the limit WATCHER_%s=%s", ascii(who[:200]), limit.upper(), value)


class Deadlines(Generic[T]):
    """Clients with the same time for something: the first to begin is the first due.

    :param seconds: how long each has.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def start(self, who: T, now: float) -> None:
        """Start, or restart, its time."""
        self._due.pop(who, None)
        self._due[who] = now + self._seconds

    def stop(self, who: T) -> None:
        """It is done, or gone."""
        self._due.pop(who, None)

    def due(self, now: float) -> list[T]:
        """Those whose time is up, only some if there are very many; they are forgotten."""
        over = []
        for who, moment in itertools.islice(self._due.items(), _AT_ONCE + len(self._due) // 100):
            if moment > now:
                break
            over.append(who)
        for who in over:
            del self._due[who]
        return over

"""What clients may take of a relay: how many connections an address may have, and how fast everybody may go.

Pure. Time is the event loop's, in seconds. A pace is a token bucket that holds a second's worth, kept as one number:
the moment at which the bucket will be full again (the generic cell rate algorithm, ITU-T I.371).
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
#: So many commands a request over HTTP counts as: it takes about as long.
REQUEST: Final = 20
#: What takes longer counts as a command for each so many seconds of the processor.
COMMAND: Final = 25e-6
#: Whoever has this share of a processor or less is served at once, others in turn with all who have more …
_SHARE: Final = 0.05
#: … and so is what comes at once and takes no longer than so many seconds.
_AT_ONCE_SECONDS: Final = 0.025
#: Whoever has done little is expected to come again within so many seconds.
_ALONE: Final = 2.0
#: Who has done much is served at once again after so many seconds at most.
_FORGIVEN: Final = 2.0
#: Seconds between two lines in the log about the same limit.
_LOG_AGAIN: Final = 10.0
#: Times are added up: as exact as this, in seconds.
_EXACT: Final = 1e-6
#: So many are due at once, or a hundredth of all: those who came together are ended one after the other.
_AT_ONCE: Final = 10
#: Subjects that are remembered at most. One that could submit at full pace needn't be.
_SUBJECTS: Final = 10_000


@functools.lru_cache(maxsize=1024)
def network(address: str) -> str:
    """What counts as one address: an IPv4 address; of IPv6 the network of 64 bits, which is what one user has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
    return address


class AddressUsage:
    """What one address has and does, for as long as it has connections, and until what it did is settled.

    :param trusted: whether it is a proxy's, which has the connections of many.
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
        """Put down what was done for it."""
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
        """Put down time of the processor that was spent for it.

        :param paced: whether it counts as commands, too: else it says only that it has to wait for its turn.
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
        """For how many seconds it is to wait before the next; 0 or less where it needn't."""
        return self._full - now - 1.0

    @property
    def most(self) -> int | None:
        """How many subscriptions its connections may have together; None: as many as they like."""
        return None if self.trusted else self._limits.settings.max_subscriptions_per_address

    def has_room(self, count: int) -> bool:
        """Whether they may have so many more."""
        return self.most is None or self.subscriptions + count <= self.most

    def hold(self, count: int) -> None:
        """They have so many more, or fewer where that is negative."""
        self.subscriptions += count

    def hand_over(self, address: str) -> AddressUsage:
        """The account of the client behind this proxy, which has the connection from here on.

        :raises TooMany: that address has too many connections; nothing has changed.
        """
        return self._limits.hand_over(self, address)

    def leave(self) -> None:
        """One of its connections is gone."""
        self._limits.leave(self)


class RateLimiter:
    """How fast one connection may go: by itself, and together with the others of its address.

    :param rate: commands a second of this connection.
    :param account: None where the address isn't known.
    """

    __slots__ = ("_full", "_rate", "account")

    def __init__(self, rate: int, account: AddressUsage | None) -> None:
        self._full = 0.0
        self._rate = rate
        self.account = account

    def charge(self, commands: float, now: float) -> float:
        """Put down what was done for it; returns :meth:`ahead`."""
        self._full = (max(now, self._full)) + commands / self._rate
        if self.account is not None:
            self.account.charge(commands, now)
        return self.ahead(now)

    def ahead(self, now: float) -> float:
        """For how many seconds it is to wait before the next; 0 or less where it needn't."""
        own = self.alone(now)
        return own if self.account is None else max(own, self.account.ahead(now))

    def alone(self, now: float) -> float:
        """The same, whatever the others of its address do."""
        return self._full - now - 1.0

    def limit(self, now: float) -> str:
        """Which setting it is that makes it wait."""
        return "max_commands" if self._full - now > 1.0 else "max_commands_per_address"


class Limits:
    """What a relay allows, and who has how much of it.

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
        """A connection has come; :meth:`AddressUsage.leave` when it has gone.

        :raises TooMany: its address has too many. Full: there are too many in all.
        """
        most = self.settings.max_connections
        if self._connections >= most:
            self.reached("max_connections", address)
            raise Full(f"the relay takes {most} connections in all")
        account = self._account(network(address))
        self._join(account)
        self._connections += 1
        return account

    def hand_over(self, proxy: AddressUsage, address: str) -> AddressUsage:
        """A proxy's connection turns out to be a client's."""
        account = self._account(network(address))
        self._join(account)
        self._quit(proxy)
        return account

    def leave(self, account: AddressUsage) -> None:
        """A connection has gone."""
        self._connections -= 1
        self._quit(account)

    def forget(self) -> None:
        """Close the accounts of those who have left and have nothing to settle."""
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
            raise TooMany(f"the relay takes {most} connections from one address")
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
        return any(address in each or key == str(each) for each in self.settings.trusted_proxies)

    # Requests and submissions.

    def now(self) -> float:
        """The time, in seconds."""
        return self._clock()

    def find(self, address: str) -> AddressUsage | None:
        """The account of an address, where it has one."""
        return self._accounts.get(network(address))

    @contextlib.contextmanager
    def request(self, address: str) -> Iterator[AddressUsage]:
        """A request that a proxy handed on, for as long as it is being answered: counted as a connection.

        Whose it is, is the account that comes of it.

        :raises TooMany: its client has too many, or asks too often.
        """
        account, now = self._account(network(address)), self._clock()
        if (wait := account.ahead(now)) > 0:
            self.reached("max_commands_per_address", account.address)
            raise TooMany(f"more than {self.commands_per_address} commands a second", retry_after=wait)
        self._join(account)
        account.charge(REQUEST, now)
        try:
            yield account
        finally:
            self._quit(account)

    def submission(self, subject: str) -> None:
        """Somebody submits a task.

        :param subject: who, as the token says, or the address.
        :raises TooMany: too many within a second; says when to come back.
        """
        now, rate = self._clock(), self.settings.max_submissions
        full = max(self._subjects.pop(subject, 0.0), now)
        wait = full + 1 / rate - now - 1.0 - _EXACT
        self._subjects[subject] = full if wait > 0 else full + 1 / rate
        if len(self._subjects) > _SUBJECTS:
            del self._subjects[next(iter(self._subjects))]  # whoever has not submitted for longest
        if wait > 0:
            self.reached("max_submissions", subject)
            raise TooMany(f"more than {rate} submissions a second", retry_after=wait)

    # What is told of it.

    def reached(self, limit: str, who: str) -> None:
        """A limit was reached: count it, and say so in the log, for each limit once in a while.

        :param limit: field name of the setting.
        """
        self._counts.limits[limit] += 1
        now = self._clock()
        if now >= self._logged.get(limit, now):
            self._logged[limit] = now + _LOG_AGAIN
            value = getattr(self.settings, limit)
            logger.warning("%s reached the limit WATCHER_%s=%s", ascii(who[:200]), limit.upper(), value)


class Deadlines(Generic[T]):
    """Those who have the same time for something: who began first is due first.

    :param seconds: how long each has.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def start(self, who: T, now: float) -> None:
        """Its time begins, now, whether or not it had begun."""
        self._due.pop(who, None)
        self._due[who] = now + self._seconds

    def stop(self, who: T) -> None:
        """It is done, or gone."""
        self._due.pop(who, None)

    def due(self, now: float) -> list[T]:
        """Those whose time is over, of very many only some; they are forgotten."""
        over = []
        for who, moment in itertools.islice(self._due.items(), _AT_ONCE + len(self._due) // 100):
            if moment > now:
                break
            over.append(who)
        for who in over:
            del self._due[who]
        return over

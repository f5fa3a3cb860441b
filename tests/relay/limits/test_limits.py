"""What clients may take: connections by address, how fast they may go, and who is due."""

from __future__ import annotations

import ipaddress

import pytest

from watcher.core.errors import Full, TooMany
from watcher.core.settings import SETTINGS, Settings
from watcher.relay.common.stats import LIMITS, Stats
from watcher.relay.limits.limits import REQUEST, Deadlines, Limits, RateLimiter, network


class Clock:
    """A time that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(**settings: int) -> tuple[Limits, Clock, Stats]:
    clock, counts = Clock(), Stats()
    proxies = (ipaddress.ip_network("10.0.0.0/8"),)
    return Limits(Settings(trusted_proxies=proxies, **settings), counts, clock), clock, counts  # type: ignore[arg-type]  # all of them are integers


def test_every_limit_is_a_setting() -> None:
    assert set(LIMITS) <= {entry.field for entry in SETTINGS}


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_of_ipv6_a_network_is_one_address(address: str, counted: str) -> None:
    assert network(address) == counted


def test_connections_are_bounded_by_address_and_in_all() -> None:
    allowed, _, counts = limits(max_connections=3, max_connections_per_address=2)
    first = allowed.enter("192.0.2.1")
    assert allowed.enter("192.0.2.1") is first
    with pytest.raises(TooMany, match="2 connections from one address"):
        allowed.enter("192.0.2.1")
    allowed.enter("192.0.2.2")
    with pytest.raises(Full, match="3 connections in all"):
        allowed.enter("192.0.2.3")
    first.leave()
    assert allowed.enter("192.0.2.1") is first
    assert {name: count for name, count in counts.limits.items() if count} == {
        "max_connections_per_address": 1,
        "max_connections": 1,
    }


def test_the_connections_of_a_trusted_proxy_are_its_clients() -> None:
    allowed, _, _ = limits(max_connections_per_address=1)
    proxies = [allowed.enter("10.0.0.1") for _ in range(3)]
    client = proxies[0].hand_over("192.0.2.1")
    with pytest.raises(TooMany):
        proxies[1].hand_over("192.0.2.1")
    client.leave()
    assert proxies[1].hand_over("192.0.2.1") is client


def test_a_request_that_a_proxy_hands_on_is_counted_for_its_client() -> None:
    allowed, clock, _ = limits(max_connections_per_address=1, max_commands_per_address=95)
    with allowed.request("192.0.2.1"), pytest.raises(TooMany), allowed.request("192.0.2.1"):
        pass
    for _ in range(95 // REQUEST):
        with allowed.request("192.0.2.1"):
            pass
    with pytest.raises(TooMany, match="95 commands per second") as error, allowed.request("192.0.2.1"):
        pass
    clock.now += error.value.retry_after
    with allowed.request("192.0.2.1"):
        pass


def test_debt_of_an_address_outlives_its_connection_until_paid() -> None:
    allowed, clock, _ = limits(max_commands_per_address=10)
    account = allowed.enter("192.0.2.1")
    account.charge(30, clock.now)
    account.leave()
    allowed.forget()
    assert allowed.enter("192.0.2.1") is account
    assert account.ahead(clock.now) == pytest.approx(2)
    account.leave()
    clock.now += 4
    allowed.forget()
    assert allowed.enter("192.0.2.1") is not account


def test_rate_limiter_allows_a_burst_of_one_second() -> None:
    allowed, clock, _ = limits(max_commands_per_address=1000)
    pace = RateLimiter(100, allowed.enter("192.0.2.1"))
    assert pace.charge(100, clock.now) <= 0
    assert pace.charge(50, clock.now) == pytest.approx(0.5)
    assert pace.limit(clock.now) == "max_commands"
    clock.now += 0.5
    assert pace.ahead(clock.now) <= 0
    others = [RateLimiter(100, allowed.enter("192.0.2.1")) for _ in range(10)]
    for other in others:
        other.charge(100, clock.now)
    assert others[0].ahead(clock.now) > 0
    assert others[0].limit(clock.now) == "max_commands_per_address"
    assert RateLimiter(100, allowed.enter("192.0.2.2")).charge(100, clock.now) <= 0, "others are not held up by it"


def test_submissions_are_bounded_by_subject() -> None:
    allowed, clock, counts = limits(max_submissions=10)
    for _ in range(10):
        allowed.submission("me")
    with pytest.raises(TooMany, match="10 submissions per second") as error:
        allowed.submission("me")
    allowed.submission("you")
    assert counts.limits["max_submissions"] == 1
    clock.now += error.value.retry_after
    allowed.submission("me")
    with pytest.raises(TooMany):
        allowed.submission("me")


def test_who_began_first_is_due_first() -> None:
    deadlines = Deadlines[str](10)
    deadlines.start("a", 0)
    deadlines.start("b", 1)
    deadlines.start("c", 2)
    deadlines.start("a", 3)
    deadlines.stop("b")
    deadlines.stop("nobody")
    assert deadlines.due(11.9) == []
    assert deadlines.due(12) == ["c"]
    assert deadlines.due(99) == ["a"]
    assert not len(deadlines)

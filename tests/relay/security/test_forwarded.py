"""Who sends a request, and what it asked for: as the connection tells, or the trusted proxies before it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.relay.security.forwarded import Peer, peer

PROXIES = tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/8", "fd00::/8")))
PROXY, STRANGER = "10.0.0.1", "203.0.113.9"


def seen(connection: str | None, *headers: tuple[str, str], host: str = "inner:5556") -> Peer:
    lines = [("Host", host), *headers]
    return peer(connection, lambda name: [text for key, text in lines if key.lower() == name.lower()], PROXIES)


def sent_by(connection: str | None, *headers: tuple[str, str]) -> str:
    return str(seen(connection, *headers).address)


def xff(*lines: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", line) for line in lines]


def test_untrusted_peer_cannot_spoof_forwarded_headers() -> None:
    claims = (
        ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"),
        ("Forwarded", "for=1.1.1.1;host=evil.example;proto=https"),
    )  # fmt: skip
    assert seen(STRANGER, *claims) == Peer(ip_address(STRANGER), False, "inner:5556", None)
    assert seen(None, *claims) == Peer(None, False, "inner:5556", None)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], PROXY),
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),  # what stands before is what the client claims
        (["1.1.1.1", "203.0.113.9"], "203.0.113.9"),  # on lines of their own
        (["1.1.1.1, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),  # two proxies
        (["1.1.1.1, 203.0.113.9", "10.0.0.7 ,fd00::7"], "203.0.113.9"),
        (["10.0.0.9, 10.0.0.7"], "10.0.0.9"),  # nobody else has written: the first of them asks for itself
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, unknown"], PROXY),
        (["1.1.1.1, unknown, 10.0.0.7"], "10.0.0.7"),
        (["1.1.1.1, 300.0.0.1"], PROXY),
        (["1.1.1.1, [::1"], PROXY),
        (["1.1.1.1, 203.0.113.9 x"], PROXY),
        ([", ,203.0.113.9,, "], "203.0.113.9"),
        ([""], PROXY),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(lines: list[str], address: str) -> None:
    assert sent_by(PROXY, *xff(*lines)) == address


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=1.1.1.1, FOR=203.0.113.9", "203.0.113.9"),
        ("for=1.1.1.1, for=203.0.113.9;by=_edge;proto=https, for=10.0.0.7", "203.0.113.9"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for="203.0.113.9:_port"', "203.0.113.9"),
        ("for=203.0.113.9:80", "203.0.113.9"),  # a colon wants quotes, and not all know that
        ('for="2\\03.0.113.9"', "203.0.113.9"),
        ("for=1.1.1.1, for=unknown", PROXY),
        ("for=1.1.1.1, for=_hidden", PROXY),
        ("for=1.1.1.1, proto=https", PROXY),
        ('for="1.1.1.1, for=203.0.113.9', PROXY),  # the quotes don't end
        ("nonsense", PROXY),
        (";;,,", PROXY),
        ("", PROXY),
    ],
)
def test_forwarded_is_read_in_the_same_way(line: str, address: str) -> None:
    assert sent_by(PROXY, ("Forwarded", line)) == address


def test_a_proxy_that_writes_the_one_hands_on_the_other_as_it_came() -> None:
    told = (("Forwarded", "for=1.1.1.1;host=evil.example;proto=http"), *xff("203.0.113.9"))
    assert seen(PROXY, *told) == Peer(ip_address(STRANGER), True, "inner:5556", None)


def test_host_and_scheme_are_those_that_the_client_asked_for() -> None:
    told = (("X-Forwarded-Host", "relay.example:8443"), ("X-Forwarded-Proto", "HTTPS"), *xff(STRANGER))
    assert seen(PROXY, *told) == Peer(ip_address(STRANGER), True, "relay.example:8443", "https")
    told = (("Forwarded", f'for={STRANGER};host="relay.example:8443";proto=https, for=10.0.0.7;host=inner;proto=http'),)
    assert seen(PROXY, *told) == Peer(ip_address(STRANGER), True, "relay.example:8443", "https")


def test_host_is_taken_from_the_outermost_trusted_proxy() -> None:
    def host(hosts: str, nodes: str) -> str | None:
        return seen(PROXY, ("X-Forwarded-Host", hosts), ("X-Forwarded-For", nodes)).host

    assert host("forged, relay.example", f"1.1.1.1, {STRANGER}") == "relay.example"
    assert host("relay.example, middle", f"{STRANGER}, 10.0.0.7") == "relay.example"
    assert host("forged, relay.example, middle", f"1.1.1.1, {STRANGER}, 10.0.0.7") == "relay.example"
    assert host("relay.example", f"{STRANGER}, 10.0.0.7") == "relay.example"  # handed on as it was
    forged = f"for=1.1.1.1;host=forged, for={STRANGER};host=relay.example, for=10.0.0.7"
    assert seen(PROXY, ("Forwarded", forged)).host == "relay.example"


def test_forwarded_scheme_maps_ws_to_http_and_drops_unknown_ones() -> None:
    schemes = ("gopher", "", "wss", "ws", "http, https")
    assert [seen(PROXY, ("X-Forwarded-Proto", text)).scheme for text in schemes] == [
        None, None, "https", "http", "https",
    ]  # fmt: skip


def test_of_several_host_lines_nobody_knows_which_is_meant() -> None:
    assert seen(STRANGER, ("Host", "other")).host is None


def test_a_proxy_may_have_an_address_of_ipv4_within_ipv6() -> None:
    assert sent_by("::ffff:127.0.0.1", *xff(STRANGER)) == STRANGER
    assert not seen("::ffff:203.0.113.1").proxied


@given(st.sampled_from(("X-Forwarded-For", "Forwarded")), st.text('for=",;[]:.\\ 1unk\n\x00é', max_size=60))
def test_nothing_that_a_client_writes_makes_it_another(name: str, text: str) -> None:
    """Its own part stands on a line before the one of the proxy, which is what proxies do that don't join lines."""
    own = f"for={STRANGER}" if name == "Forwarded" else STRANGER
    assert sent_by(PROXY, (name, text), (name, own)) in (STRANGER, PROXY)


def test_a_long_header_takes_no_long_time() -> None:
    for text in ("10.0.0.1," * 8000, 'for="' + "\\a" * 30000, "for=" * 16000, " " * 65000):
        assert sent_by(PROXY, ("X-Forwarded-For", text)) == PROXY
        assert sent_by(PROXY, ("Forwarded", text)) == PROXY

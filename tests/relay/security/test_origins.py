"""Who may knock at a relay: by Host, by Origin, and where an open one may listen."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.core.errors import Unauthorized
from watcher.core.loopback import is_loopback
from watcher.core.settings import Settings
from watcher.relay.security.forwarded import Lines, Peer
from watcher.relay.security.origins import (
    ambient_refusal,
    bearer,
    host_refusal,
    insecure_bind_refused,
    origin_refusal,
    refusal,
    unbelieved,
)

OPEN = Settings()
SECRET = "s" * 32


def lines(**headers: str) -> Lines:
    """The lines of a request with these headers, ``_`` standing for ``-``."""
    given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return lambda name: [given[name.lower()]] if name.lower() in given else []


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:5556", "localhost.:5556", "app.localhost", "127.0.0.1", "127.0.0.1:5556", "127.9.9.9",
        "[::1]", "[::1]:5556", "[::ffff:127.0.0.1]:5556",
    ],
)  # fmt: skip
def test_open_relay_answers_to_loopback_names(host: str) -> None:
    assert host_refusal(OPEN, host) is None


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:5556", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example",
        "127.0.0.1@evil.example", "evil.example/localhost", "10.0.0.1", "[::2]", "0.0.0.0", "localhost:x", "[::1",
        "localhost evil", "localhost\\.evil.example",
    ],
)  # fmt: skip
def test_open_relay_refuses_other_hosts(host: str) -> None:
    assert host_refusal(OPEN, host) is not None


def test_open_relay_refuses_a_request_without_host() -> None:
    assert "no Host header" in (host_refusal(OPEN, None) or "")


def test_hosts_setting_matches_any_port_or_the_given_one() -> None:
    settings = Settings(hosts=("Relay.example", "other.example:8080"))
    assert host_refusal(settings, "relay.example:5556") is None
    assert host_refusal(settings, "relay.example") is None
    assert host_refusal(settings, "other.example:8080") is None
    assert host_refusal(settings, "other.example") is not None
    assert host_refusal(settings, "sub.relay.example") is not None
    assert host_refusal(Settings(hosts=("*",)), "anything.example") is None


def test_with_a_secret_any_host_is_answered() -> None:
    settings = Settings(secret=SECRET)
    assert host_refusal(settings, "evil.example") is None
    assert host_refusal(settings, None) is None


def test_hosts_setting_is_enforced_with_an_auth_header() -> None:
    settings = Settings(auth_header="X-User", hosts=("relay.example",))
    assert host_refusal(settings, "relay.example") is host_refusal(settings, "127.0.0.1:5556") is None
    assert "WATCHER_HOSTS=evil.example" in (host_refusal(settings, "evil.example") or "")
    assert host_refusal(Settings(auth_header="X-User"), "evil.example") is None
    assert host_refusal(Settings(secret=SECRET, hosts=("relay.example",)), "evil.example") is None


def test_refusals_name_the_setting_that_would_allow() -> None:
    assert "WATCHER_HOSTS=relay.example allows it" in (host_refusal(OPEN, "relay.example:5556") or "")
    told = origin_refusal(OPEN, host="localhost:5556", origin="https://app.example")
    assert "WATCHER_ORIGINS=https://app.example allows it" in (told or "")


def test_what_the_refusal_says_would_help_does_help() -> None:
    assert refusal(Settings(hosts=("relay.example",)), Peer(None, False, "relay.example:5556", None), lines()) is None
    settings = Settings(origins=("https://app.example",))
    told = lines(Origin="https://app.example")
    assert refusal(settings, Peer(None, False, "localhost:5556", None), told) is None


def test_a_refusal_is_one_printable_line_of_bounded_length() -> None:
    for told in (
        host_refusal(OPEN, "evil\r\nX: y" + "a" * 10_000),
        origin_refusal(OPEN, host=None, origin="https://\x1b[2J" + "a" * 10_000),
    ):
        assert told is not None
        assert told.isprintable()
        assert len(told) < 500


def test_what_is_no_browser_has_no_origin() -> None:
    assert origin_refusal(Settings(secret=SECRET), host="relay.example", origin=None) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("relay.example:5556", "http://relay.example:5556"),
        ("relay.example", "https://relay.example"),  # behind a proxy that speaks TLS
        ("relay.example", "http://relay.example"),
        ("relay.example:443", "https://relay.example"),
        ("RELAY.example", "https://relay.EXAMPLE:443"),
        ("[::2]:5556", "http://[::2]:5556"),
    ],
)
def test_the_relays_own_pages_may_use_it(host: str, origin: str) -> None:
    assert origin_refusal(Settings(secret=SECRET), host=host, origin=origin) is None


def test_origin_check_uses_the_default_port_of_the_known_scheme() -> None:
    def refused(origin: str, scheme: str, host: str = "relay.example") -> bool:
        return origin_refusal(Settings(secret=SECRET), host=host, scheme=scheme, origin=origin) is not None

    assert not refused("https://relay.example", "https")
    assert refused("http://relay.example", "https")  # whoever is on the wire can make such a page
    assert refused("https://relay.example", "http")
    assert not refused("http://relay.example:8080", "http", "relay.example:8080")


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "https://app.localhost", "http://[::1]:1"]
)
def test_pages_on_loopback_may_use_an_open_relay_only(origin: str) -> None:
    assert origin_refusal(OPEN, host="localhost:5556", origin=origin) is None
    assert origin_refusal(Settings(secret=SECRET), host="relay.example", origin=origin) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "https://evil.example", "http://relay.example:5557", "http://relay.example.evil.example:5556",
        "file://", "javascript://relay.example:5556", "http://relay.example:5556/path", "relay.example:5556",
        "http://relay.example:5556@evil.example", "http://relay.example:99999",
    ],
)  # fmt: skip
def test_other_origins_are_refused(origin: str) -> None:
    for settings in (OPEN, Settings(secret=SECRET), Settings(secret=SECRET, origins=("https://app.example",))):
        assert origin_refusal(settings, host="relay.example:5556", origin=origin) is not None


def test_origins_setting_is_matched_as_a_whole() -> None:
    settings = Settings(secret=SECRET, origins=("https://app.example", "http://dev.example:8080/"))
    for origin in ("https://app.example", "https://APP.example:443", "http://dev.example:8080"):
        assert origin_refusal(settings, host="relay.example", origin=origin) is None
    for origin in ("http://app.example", "https://app.example:8443", "https://a.app.example", "http://dev.example"):
        assert origin_refusal(settings, host="relay.example", origin=origin) is not None
    assert origin_refusal(Settings(origins=("*",)), host="localhost", origin="null") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "relay.example"])
def test_open_relay_may_not_listen_where_others_reach_it(host: str) -> None:
    assert "--insecure" in (insecure_bind_refused(Settings(host=host)) or "")
    assert insecure_bind_refused(Settings(host=host, secret=SECRET)) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_open_relay_may_listen_on_loopback(host: str) -> None:
    assert insecure_bind_refused(Settings(host=host)) is None


@given(st.text(max_size=40))
def test_host_and_origin_checks_survive_any_text(text: str) -> None:
    for told in (host_refusal(OPEN, text), origin_refusal(OPEN, host=text, origin=text)):
        assert told is None or told.isprintable()
    if host_refusal(OPEN, text) is None:
        name = text.strip("[]").rpartition(":")[0] or text
        assert is_loopback(text) or is_loopback(name)


# What comes along without anybody's doing: whom the identity proxy names.

NAMING = Settings(auth_header="X-User", trusted_proxies=(ip_network("10.0.0.1"),))
PROXIED = Peer(ip_address("203.0.113.9"), True, "relay.example", "https")


def ambient(changes: str | None = None, **headers: str) -> str | None:
    return ambient_refusal(NAMING, PROXIED, lines(X_User="alice", **headers), changes=changes)


def test_proxy_identity_is_ignored_for_cross_site_requests() -> None:
    for site in ("cross-site", "same-site", "cross-site, none", "nonsense"):
        for changes in (None, "", "application/json"):
            assert "another site" in (ambient(changes, Sec_Fetch_Site=site) or "")
    framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert ambient(**framed) is not None


def test_a_link_from_elsewhere_may_be_followed() -> None:
    followed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ambient(**followed) is None
    assert ambient("text/plain", **followed) is not None  # a form that is sent is no link


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x=json"])
def test_write_with_proxy_identity_requires_json_or_same_origin(kind: str) -> None:
    assert "Content-Type: application/json" in (ambient(kind) or "")
    assert ambient("application/json; charset=utf-8") is None
    for site in ("same-origin", "none"):
        assert ambient(kind, Sec_Fetch_Site=site) is None
    assert ambient(kind, Origin="https://relay.example") is None  # its origin is looked at elsewhere


def test_a_token_and_a_stranger_are_nobodys_browser() -> None:
    assert ambient("", Authorization="Bearer x", Sec_Fetch_Site="cross-site") is None
    for no_token in ("Basic x", "Bearer ", "Bearer"):
        assert ambient("", Authorization=no_token, Sec_Fetch_Site="cross-site") is not None
    stranger = replace(PROXIED, proxied=False)
    told = lines(X_User="alice", Sec_Fetch_Site="cross-site")
    assert ambient_refusal(NAMING, stranger, told, changes="") is None
    assert "203.0.113.9" in (unbelieved(NAMING, stranger, told) or "")
    assert unbelieved(NAMING, PROXIED, told) is None
    assert unbelieved(NAMING, stranger, lines()) is None


def test_the_token_of_a_request() -> None:
    assert bearer(lines(Authorization="bearer  x ")) == "x"
    assert bearer(lines(Authorization="Basic x")) is None
    assert bearer(lines()) is None
    for blank in ("\xa0", "\x85", "\x1f", "\n"):
        assert bearer(lines(Authorization=f"Bearer {blank}x{blank}")) == f"{blank}x{blank}"


def test_two_lines_of_tokens_are_refused() -> None:
    twice: Lines = lambda name: ["Bearer x", "Basic y"] if name == "Authorization" else []  # noqa: E731 - as short
    with pytest.raises(Unauthorized, match="more than one Authorization"):
        bearer(twice)
    told = refusal(Settings(secret=SECRET), Peer(None, False, "relay.example", None), twice)
    assert told == "more than one Authorization header"

"""Whom an identity proxy names, and what the table grants people and groups."""

from __future__ import annotations

import contextlib
import json
import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.processes import ROOT
from watcher.core.errors import SettingError, Unauthorized
from watcher.core.permissions import Grant
from watcher.core.settings import Settings
from watcher.relay.security.forwarded import Lines, Peer
from watcher.relay.security.identity import IdentityPolicy, Person, check, person

PROXIES = (ip_network("10.0.0.1"),)
SETTINGS = Settings(auth_header="X-User", auth_groups_header="X-Groups", trusted_proxies=PROXIES, claims="x")
PROXIED = Peer(ip_address("203.0.113.9"), True, "relay.example", "https")

TABLE = """
[default]
watch = ["name:reports.*"]

[users."alice@example.com"]
watch = ["task:a", "task:b"]
revoke = true

[users.nobody]

[groups.ops]
watch = ["tasks", "task:a"]
submit = ["reports.*"]

[groups.dev]
submit = ["dev.*"]
"""


def lines(*headers: tuple[str, str]) -> Lines:
    return lambda name: [text for key, text in headers if key.lower() == name.lower()]


def named(*headers: tuple[str, str]) -> Person | None:
    return person(SETTINGS, PROXIED, lines(*headers))


# Whom the proxy names.


def test_a_proxy_names_a_person_and_groups() -> None:
    assert named(("x-user", " alice\t"), ("x-groups", "ops, dev,,\tmore ")) == Person("alice", ("ops", "dev", "more"))
    assert named(("X-User", "alice")) == Person("alice")
    assert named(("X-User", "CN=alice,OU=x")) == Person("CN=alice,OU=x")
    assert named(("X-Groups", "ops")) is named(("X-User", "")) is named(("X-User", " ")) is named() is None


def test_nobody_is_named_by_a_stranger_or_where_no_header_is_set() -> None:
    told = lines(("X-User", "alice"), ("X-User", "again"))
    assert person(SETTINGS, Peer(ip_address("203.0.113.9"), False, None, None), told) is None
    assert person(Settings(trusted_proxies=PROXIES), PROXIED, told) is None


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Unauthorized, match="more than one X-User"):
        named(("X-User", "alice"), ("x-user", "alice"))
    for name in ("alice", "", " "):
        with pytest.raises(Unauthorized, match="more than one X-Groups"):
            named(("X-User", name), ("x-groups", "ops"), ("X-Groups", ""))


@pytest.mark.parametrize(
    "blank", [chr(code) for code in range(0x3001) if chr(code).isspace() and chr(code) not in " \t"]
)
def test_white_space_of_other_kinds_is_a_part_of_the_name(blank: str) -> None:
    name = f"{blank}alice{blank}"
    assert named(("X-User", f" {name}\t".encode().decode("latin-1"))) == Person(name)
    groups = f"ops, {name} ,{blank}"
    assert named(("X-User", "a"), ("X-Groups", groups.encode().decode("latin-1"))) == Person("a", ("ops", name, blank))


def test_names_are_in_utf_8_whichever_server_has_read_them() -> None:
    written = "zoë ☃".encode()
    for value in (written.decode("latin-1"), written.decode("ascii", "surrogateescape")):
        assert named(("X-User", value), ("X-Groups", value)) == Person("zoë ☃", ("zoë ☃",))
    with pytest.raises(Unauthorized, match="X-User is not in UTF-8"):
        named(("X-User", "zo\xeb"))
    with pytest.raises(Unauthorized, match="X-Groups is not in UTF-8"):
        named(("X-User", "zoe"), ("X-Groups", "\udceb"))


# What they may do.


def test_grants_of_user_and_groups_add_up_or_fall_to_the_default() -> None:
    people = IdentityPolicy.read(TABLE)

    def may(name: str, *groups: str) -> Grant:
        return people.grant(Person(name, groups))

    alice = Grant("alice@example.com", ("task:a", "task:b"), (), True)
    assert may("alice@example.com") == may("alice@example.com", "unknown") == alice
    both = Grant("alice@example.com", ("task:a", "task:b", "tasks"), ("reports.*", "dev.*"), True)
    assert may("alice@example.com", "ops", "dev", "ops") == both
    assert may("bob", "ops") == Grant("bob", ("tasks", "task:a"), ("reports.*",))
    assert may("bob") == Grant("bob", ("name:reports.*",))
    assert may("ALICE@example.com") == Grant("ALICE@example.com", ("name:reports.*",))
    assert may("nobody") == Grant("nobody")
    assert may("ops") == Grant("ops", ("name:reports.*",))  # a user of a group's name is not the group


def test_without_a_default_nobody_else_may_do_anything() -> None:
    people = IdentityPolicy.read('[users.alice]\nwatch = ["*"]')
    assert people.grant(Person("bob", ("alice",))) == Grant("bob")


def test_the_same_in_json() -> None:
    rights = {"watch": ["task:a", "task:b"], "revoke": True}
    text = json.dumps({"users": {"alice@example.com": rights, "nobody": {}}})
    assert IdentityPolicy.read(text, as_json=True).users == IdentityPolicy.read(TABLE).users


def test_the_table_in_the_document_can_be_read() -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/operating.md").read_text(), re.DOTALL | re.MULTILINE)
    people = IdentityPolicy.read(shown)
    assert people.grant(Person("alice@example.com")).revoke
    assert people.grant(Person("bob", ("reporting",))).submit == ("reports.*",)
    assert people.default is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty: it needs users, groups or default"),
        ("[users]\n", "it is empty"),
        ("[user.alice]\n", "'user' is not one of users, groups and default"),
        ("users = 1", "users must hold a table for each name, not 1"),
        ("[users]\nalice = true", "users.'alice' must be a table of watch, submit, queues and revoke, not True"),
        ("default = []", "default must be a table of watch, submit, queues and revoke, not []"),
        ('[users.alice]\nwatch = "*"', "users.'alice'.watch must be a list of globs of channels, not '*'"),
        ("[groups.a]\nsubmit = [1]", "groups.'a'.submit must be a list of globs of task names, not [1]"),
        ("[groups.a]\nrevoke = 1", "groups.'a'.revoke must be true or false, not 1"),
        ("[default]\nread = true", "default.'read' is not a claim: claims are watch, submit, queues and revoke"),
        ("[users.alice]\n[users.alice]", "line 2"),
        ("[users", "end of document"),
    ],
)
def test_what_is_not_understood_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        IdentityPolicy.read(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("[]", "expected an object"),
        ('{"users": {"alice": {}, "alice": {"watch": ["*"]}}}', "'alice' is duplicated"),
        ('{"users": ' + '{"a":' * 100_000, "nested too deeply"),
        ('{"default": {"watch": "' + "x" * 10_000 + '"}}', "…"),
    ],
)
def test_so_it_is_in_json(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as error:
        IdentityPolicy.read(text, as_json=True)
    assert len(str(error.value)) < 300


@given(st.text(max_size=80), st.booleans())
def test_no_text_makes_it_fail_otherwise(text: str, as_json: bool) -> None:
    with contextlib.suppress(ValueError):
        IdentityPolicy.read(text, as_json=as_json)


# Which settings fit each other.


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(auth_header="X-User", claims="x"), "WATCHER_AUTH_HEADER='X-User'.*WATCHER_TRUSTED_PROXIES"),
        (Settings(auth_header="X-User", trusted_proxies=PROXIES), "WATCHER_AUTH_HEADER='X-User'.*WATCHER_CLAIMS"),
        (Settings(claims="x"), "WATCHER_CLAIMS='x'.*WATCHER_AUTH_HEADER"),
        (Settings(auth_groups_header="X-G"), "WATCHER_AUTH_GROUPS_HEADER='X-G'.*WATCHER_AUTH_HEADER"),
        (
            Settings(auth_header="X-User", trusted_proxies=PROXIES, claims="x", origins=("a", "*")),
            "WATCHER_ORIGINS='a \\*'.*name the origins",
        ),
    ],
)
def test_what_is_missing_or_unsafe_is_told(settings: Settings, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        check(settings)


def test_what_fits_is_taken() -> None:
    check(Settings())
    check(SETTINGS)

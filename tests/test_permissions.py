"""Tokens, and what they grant: what no claim grants is denied."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from tests.support.tokens import FAR
from watcher.errors import TokenExpired, Unauthorized
from watcher.keys import Keyring
from watcher.permissions import OPEN, Grant, grant, issue, literally
from watcher.settings import Settings

SECRET = "0123456789abcdef" * 4
KEYRING = Keyring.of(Settings(secret=SECRET))
OTHER = "fedcba9876543210" * 4


def signed(claims: dict[str, Any], key: str = SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


def test_a_token_grants_what_its_claims_say() -> None:
    found = grant(issue(SECRET, subject="me", watch=["task:*"], submit=["tasks.*"], revoke=True), KEYRING)
    assert (found.subject, found.watch, found.submit, found.revoke) == ("me", ("task:*",), ("tasks.*",), True)
    assert found.expires is not None
    assert 890 < found.expires - time.time() <= 900


def test_an_open_relay_grants_everything_to_everyone() -> None:
    assert grant(None, None) is OPEN
    assert grant("nonsense", None) is OPEN


def test_without_claims_nothing_is_granted() -> None:
    found = grant(signed({"exp": time.time() + 3600}), KEYRING)
    assert not found.may_watch("task:a")
    assert not found.may_see(["task:a", "tasks"])
    assert not found.may_submit("tasks.add")
    assert not found.revoke


@pytest.mark.parametrize(
    "claims", [{"watch": "*"}, {"watch": [1]}, {"watch": {"a": 1}}, {"revoke": "yes"}, {"revoke": 1}]
)
def test_claims_of_the_wrong_type_grant_nothing(claims: dict[str, Any]) -> None:
    found = grant(signed({"exp": time.time() + 3600, **claims}), KEYRING)
    assert (found.watch, found.revoke) == ((), False)


INVALID = {
    "none": None,
    "empty": "",
    "nonsense": "nonsense",
    "another's": signed({"exp": FAR}, OTHER),
    "without an end": signed({"watch": ["*"]}),
    "end is no time": signed({"exp": "soon"}),
    "another algorithm": signed({"exp": FAR}, algorithm="HS512"),
    "not yet": signed({"exp": FAR, "nbf": FAR - 3600}),
    "no algorithm": jwt.encode({"exp": FAR}, "", algorithm="none"),
}


@pytest.mark.parametrize("token", INVALID.values(), ids=INVALID)
def test_what_is_no_valid_token_is_refused(token: str | None) -> None:
    with pytest.raises(Unauthorized) as error:
        grant(token, KEYRING)
    assert not isinstance(error.value, TokenExpired)


def test_a_token_whose_time_is_over_is_told_apart() -> None:
    with pytest.raises(TokenExpired):
        grant(issue(SECRET, ttl=-60), KEYRING)


def test_globs_of_channels_and_names() -> None:
    some = Grant(watch=("task:*", "tag:user-[12]"), submit=("tasks.*",))
    assert some.may_watch("task:x")
    assert some.may_watch("tag:user-1")
    assert not some.may_watch("tag:user-3")
    assert not some.may_watch("tasks")
    assert some.may_see(["name:n", "tag:user-2"])
    assert not some.may_see(["name:n"])
    assert some.may_submit("tasks.add")
    assert not some.may_submit("other.add")


def test_an_id_that_looks_like_a_glob_is_only_itself() -> None:
    some = Grant(watch=(literally("task:[a]*?"),))
    assert some.may_watch("task:[a]*?")
    assert not any(map(some.may_watch, ("task:a", "task:[a]x?", "task:[a]*x")))


def test_whoever_watches_everything_sees_every_channel() -> None:
    assert Grant(watch=("tasks",)).may_watch("name:anything")

"""Tokens, and what they grant: what no claim grants is denied."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from tests.support.tokens import FAR
from watcher.core.errors import TokenExpired, Unauthorized
from watcher.core.keyring import Keyring
from watcher.core.permissions import OPEN, Grant, grant, issue, literally
from watcher.core.settings import Settings

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
    for end in (0, -1, -0.5, 1 - 2**53, time.time() - 5.5):
        with pytest.raises(TokenExpired):
            grant(signed({"exp": end}), KEYRING)


NO_TIMES: dict[str, Any] = {
    "not a number": float("nan"), "without end": float("inf"), "without begin": float("-inf"), "2^53": 2**53,
    "2^53, negative": -(2**53), "2^53 as a fraction": 2.0**53, "1e300": 1e300, "400 digits": 10**400, "null": None,
    "true": True, "false": False, "digits": str(FAR), "text": "soon", "empty text": "", "list": [FAR], "object": {},
}  # fmt: skip


@pytest.mark.parametrize("moment", NO_TIMES.values(), ids=NO_TIMES)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_time_is_a_finite_number_below_two_to_the_53rd(claim: str, moment: Any) -> None:
    with pytest.raises(Unauthorized) as error:
        grant(signed({"exp": FAR, claim: moment}), KEYRING)
    assert not isinstance(error.value, TokenExpired)
    assert claim in str(error.value)


def test_token_with_a_nonfinite_or_huge_exp_is_refused() -> None:
    for text in ("1e400", "-1e400", "9" * 5000, "NaN", "Infinity", "1" + "0" * 400):
        token = jwt.PyJWS().encode(f'{{"exp": {text}}}'.encode(), SECRET, algorithm="HS256")
        with pytest.raises(Unauthorized, match="not valid"):
            grant(token, KEYRING)


def test_a_time_may_have_a_fraction_and_clocks_differ_a_little() -> None:
    now = time.time()
    for claims in (
        {"exp": now + 0.5}, {"exp": 2**53 - 1}, {"exp": now - 4}, {"exp": FAR, "nbf": now + 4, "iat": now + 4.5},
        {"exp": FAR, "nbf": -1.5, "iat": 0},
    ):  # fmt: skip
        assert grant(signed(claims), KEYRING).expires == claims["exp"]
    for later in ("nbf", "iat"):
        with pytest.raises(Unauthorized, match=f"not valid yet, according to its {later}"):
            grant(signed({"exp": FAR, later: now + 60}), KEYRING)


def test_a_token_ends_by_a_number_and_no_later_than_it_is_told() -> None:
    now = time.time()
    assert grant(issue(SECRET, until=now + 60.9), KEYRING).expires == int(now + 60.9)
    assert grant(issue(SECRET, ttl=60, until=now + 600), KEYRING).expires in (int(now + 60), int(now + 61))
    for ttl in (float("nan"), float("inf"), 2.0**53, 1e300):
        with pytest.raises(ValueError, match="ttl="):
            issue(SECRET, ttl=ttl)


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

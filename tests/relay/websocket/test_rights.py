"""What one client may do: by its token, by a proxy's word, by a token of one subscription."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from watcher.core.errors import Unauthorized
from watcher.core.permissions import Grant
from watcher.relay.websocket.rights import Rights

OWN = Grant("me", watch=("task:own",), expires=100.0)
NAMED = Grant("me", watch=("task:named",))


def refused(_: str) -> Grant:
    raise Unauthorized("no")


def admits(grant: Grant) -> Callable[[str], Grant]:
    return lambda _: grant


def test_there_is_no_grant_before_connect_and_none_after_a_refused_one() -> None:
    rights = Rights(None)
    assert not rights.may_watch("task:own")
    with pytest.raises(Unauthorized):
        rights.connect("wrong", refused)
    assert rights.grant is None
    assert rights.connect("right", admits(OWN)) is rights.grant
    assert rights.may_watch("task:own")


def test_a_proxys_word_counts_until_a_token_is_chosen() -> None:
    rights = Rights(lambda: NAMED)
    assert rights.connect("", refused) == NAMED
    assert rights.reconsider()
    assert rights.lifetime() == (False, 0)
    assert rights.refresh(OWN)
    assert not rights.reconsider()
    assert rights.grant == OWN
    assert rights.lifetime()[0]


def test_a_token_at_connect_is_preferred_to_a_proxys_word() -> None:
    rights = Rights(lambda: NAMED)
    assert rights.connect("token", admits(OWN)) == OWN
    assert not rights.reconsider()


def test_another_subjects_token_changes_nothing() -> None:
    rights = Rights(None)
    rights.connect("token", admits(OWN))
    assert not rights.refresh(Grant("other", watch=("*",)))
    assert rights.grant == OWN


def test_what_is_lent_ends_with_its_subscription_or_its_token() -> None:
    rights = Rights(None)
    rights.connect("token", admits(OWN))
    for channel, until in (("task:a", 10.0), ("task:b", 20.0), ("task:c", 20.0)):
        rights.lend(channel, until)
    assert rights.next_end == 10.0
    rights.give_back("task:b")
    rights.give_back_ended(10.0)
    assert [channel for channel in ("task:a", "task:b", "task:c") if rights.may_watch(channel)] == ["task:c"]
    rights.give_back_all()
    assert not rights.may_watch("task:c")
    assert rights.next_end == OWN.ends

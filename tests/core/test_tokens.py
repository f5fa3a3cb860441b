"""`watcher.token`: a browser may watch one task, and nothing else."""

from __future__ import annotations

import time
import uuid

import pytest
from celery import Celery

import watcher
from watcher.core.errors import SettingError
from watcher.core.keyring import Key, Keyring
from watcher.core.permissions import grant

SECRET = "0123456789abcdef0123456789abcdef"


def keyring(secret: str) -> Keyring:
    """Of a relay with this secret."""
    return Keyring((Key("HS256", secret),))


def test_it_lets_its_holder_watch_that_task_and_nothing_else() -> None:
    result = Celery("program", set_as_current=False).AsyncResult("order-7")
    for given in (result, "order-7"):
        found = grant(watcher.token(given, secret=SECRET), keyring(SECRET))
        assert (found.watch, found.submit, found.revoke) == (("task:order-7",), (), False)
        assert found.may_watch("task:order-7")
        assert not any(map(found.may_watch, ("task:order-70", "task:other", "tasks", "tag:order-7", "root:order-7")))
        assert found.expires == pytest.approx(time.time() + 900, abs=5)


@pytest.mark.parametrize("identity", ["*", "tasks", "a?c", "[a-z]", "order-*"])
def test_an_id_is_no_glob(identity: str) -> None:
    found = grant(watcher.token(identity, secret=SECRET), keyring(SECRET))
    assert found.may_watch(f"task:{identity}")
    assert not any(map(found.may_watch, ("task:abc", "task:a", "task:order-1", "tasks", "tag:x")))


def test_more_can_be_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_SECRET", SECRET)
    token = watcher.token(uuid.UUID(int=7), ttl=60, watch=["tag:user:42"], submit=["tasks.*"])
    found = grant(token, keyring(SECRET))
    assert found.watch == (f"task:{uuid.UUID(int=7)}", "tag:user:42")
    assert found.submit == ("tasks.*",)
    assert found.expires == pytest.approx(time.time() + 60, abs=5)


def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHER_SECRET", raising=False)
    with pytest.raises(SettingError, match="WATCHER_SECRET"):
        watcher.token("order-7")
    with pytest.raises(SettingError, match="32 bytes") as raised:
        watcher.token("order-7", secret="too short")
    assert "too short" not in str(raised.value)
    for ttl in (0, -1, float("nan"), float("inf"), 1e300, 2**53, 10**400):
        with pytest.raises(ValueError, match="ttl="):
            watcher.token("order-7", secret=SECRET, ttl=ttl)
    with pytest.raises(TypeError, match="AsyncResult"):
        watcher.token(7, secret=SECRET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not be empty"):
        watcher.token("", secret=SECRET)
    with pytest.raises(TypeError, match=r"watch='tag:x'"):
        watcher.token("order-7", secret=SECRET, watch="tag:x")

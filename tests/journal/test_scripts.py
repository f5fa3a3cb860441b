"""The scripts as files: all are used, Redis takes them, and processes of two versions keep one journal."""

from __future__ import annotations

import random
from typing import Any

import pytest
from redis import Redis

from tests.support.events import event, record
from tests.support.processes import ROOT
from tests.support.valkey import Valkey
from watcher.journal import scripts
from watcher.journal.layout import Journal
from watcher.journal.scripts import APPEND, sha_of

JOURNAL = Journal(history=60)
STATES = ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "SUCCESS"]
SCRIPTS = {name: text for name in scripts.__all__ if isinstance(text := getattr(scripts, name), str)}


def test_every_file_is_part_of_a_script() -> None:
    for path in sorted((ROOT / "watcher").rglob("*.lua")):
        assert any(path.read_text() in text for text in SCRIPTS.values()), path


@pytest.mark.parametrize("name", SCRIPTS)
def test_redis_takes_each_script(valkey: Valkey, name: str) -> None:
    with valkey.client() as redis:
        assert redis.script_load(SCRIPTS[name]) == sha_of(SCRIPTS[name])


def _kept(redis: Any) -> dict[bytes, object]:
    """All that the journal's keys hold."""
    found: dict[bytes, object] = {}
    for key in redis.keys("{watcher}:*"):
        kind = redis.type(key)
        found[key] = (
            redis.xrange(key) if kind == b"stream" else redis.hgetall(key) if kind == b"hash" else redis.get(key)
        )
    return found


def _appended(redis: Redis, texts: list[str], seed: int) -> dict[bytes, object]:
    """What the journal's keys hold after random batches, which those texts of the script append in turn."""
    chance = random.Random(seed)
    redis.flushdb()
    redis.xadd(JOURNAL.stream, {"e": record(event("first")).line}, id="1700000000000000-1")  # an epoch of its own
    versions = [redis.register_script(text) for text in texts]
    for number in range(1, 80):
        told = [
            event(f"t{chance.randrange(12)}", chance.choice(STATES), retries=chance.choice([0, 0, 1]))
            for _ in range(chance.choice([1, 1, 3, 9]))
        ]
        keys, arguments = JOURNAL.append("w", number, [record(each) for each in told])
        versions[number % len(versions)](keys=keys, args=arguments)
    return _kept(redis)


@pytest.mark.parametrize("seed", range(3))
def test_two_versions_at_once_keep_what_one_does(valkey: Valkey, seed: int) -> None:
    with valkey.client() as redis:
        other = f"{APPEND}\n-- another version"
        assert sha_of(other) != sha_of(APPEND)
        assert _appended(redis, [APPEND, other], seed) == _appended(redis, [APPEND], seed)

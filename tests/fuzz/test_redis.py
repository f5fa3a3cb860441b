"""What a hostile or broken worker may leave in Redis: the relay passes over it, or says that it can't go on until it is
gone; it never dies, and what good workers tell meanwhile comes through."""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final

import msgspec
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.fuzz import garbage
from tests.fuzz.budget import cases, seconds, told
from tests.fuzz.stage import JOURNAL, Stage
from tests.support.waiting import wait_for
from watcher.journal.scripts import APPEND

EXPECTED = ("ignored ", "the connection to Redis broke", "was rewound", "have left the journal before")
_GOOD = {
    "id": "t", "state": "SUCCESS", "timestamp": 1.5, "source": "signal", "name": "tasks.add", "hostname": "w",
    "retries": 0, "root_id": "r", "group_id": "g", "args": [1], "kwargs": {}, "argsrepr": "(1,)", "tags": ["a", "b"],
    "result": {"x": 1},
    "runtime": 0.5, "exception": {"type": "E", "message": "m", "traceback": "t"}, "meta": {"current": 1, "total": 2},
}  # fmt: skip
_STATES = ("PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "SUCCESS", "", "\ud800", "é")
_STORED = {
    "status": "SUCCESS", "result": {"exc_type": "E", "exc_message": ["m"]}, "traceback": "t", "date_done": "2026-01-01",
    "task_id": "t", "name": "tasks.add", "retries": 0, "worker": "w", "queue": "q", "parent_id": "p", "children": [],
}  # fmt: skip


def event(dice: random.Random) -> bytes:
    """An event that is none, or tells of nonsense."""
    good = {**_GOOD, "id": f"bad-{dice.randrange(50)}", "state": dice.choice(_STATES)}
    kind = dice.randrange(10)
    if kind == 0:  # it has ended: what has not is kept, and of that there is no bound (docs/architecture.md)
        good["state"] = "SUCCESS"
        return json.dumps(
            {**good, dice.choice(sorted(good)): "x" * dice.choice((20_000, 20_000, 20_000, 100_000, 1_000_000))}
        ).encode()
    if kind == 1:
        return json.dumps(good).encode() + dice.choice((b"\n", b"\r", b"\n{}", b" ", b"\0"))
    if kind == 2:
        return json.dumps(
            {**good, "timestamp": dice.choice(garbage.NUMBERS), "retries": dice.choice((-5, 10**30, 7))}
        ).encode()
    return garbage.json_text(dice, good)


# What may be done to Redis beside good workers, which go on.


def append(dice: random.Random, redis: Redis) -> Any:
    """As a worker does, by the script, but with garbage for id, standing and line."""
    count = dice.choice((1, 3))
    records = []
    for _ in range(count):
        standing = dice.choice(("0000006", "", "x", "0000000" + "0" * 17 + " STARTED", "9" * 50, garbage.text(dice)))
        records.append((f"bad-{dice.randrange(50)}", standing.encode("utf-8", "surrogatepass"), event(dice)))
    ids, standings, lines = zip(*records, strict=True)
    counts = dice.choice(([count], [count], [1] * count, [count + 1], [0, count], [-1], [], ["x"], [2**40]))
    told = dice.choice((msgspec.msgpack.encode((ids, standings, counts)),) * 9 + (dice.randbytes(20), b""))
    keys, arguments = JOURNAL.append(f"hostile-{dice.random()}", 1, [])
    pieces = lines if len(counts) == count else [b"\n".join(lines)]
    with suppress(ResponseError):  # where they don't belong together
        _run(redis, APPEND, keys, [*arguments[:5], told, *pieces])
    return records, told


def add(dice: random.Random, redis: Redis) -> Any:
    """Straight into the stream: with the next place, fields that are missing, twice, or wrong."""
    e, b = event(dice), dice.choice((b"0", b"", b"x", b"inf", b"nan", b"-5", b"1e400", b"9" * 400))
    fields = dice.choice(
        (
            [b"e", e, b"b", b],
            [b"b", b, b"e", e],
            [b"e", e],
            [b"x", b"y"],
            [b"", b""],
            [b"e", b, b"e", e],
            [b"e", e, b"b", b, b"n", dice.choice((b"2", b"0", b"-1", b"x", b"999", b"9" * 30))],
            [b"e", e, b"b", b"0", b"o", dice.choice((b"", b"x", b"\x92\x01\xa40:t1", b"\x93\x01\x02\x03", b"\xc1"))],
        )
    )
    _call(redis, "XADD", JOURNAL.stream, "*", *fields)
    return fields


def leap(dice: random.Random, redis: Redis) -> Any:
    """Leave a hole in the offsets."""
    epoch, _, offset = redis.xinfo_stream(JOURNAL.stream)["last-generated-id"].partition(b"-")
    identity = b"%s-%d" % (epoch, int(offset) + dice.choice((2, 10, 5000)))
    with suppress(ResponseError):  # a good worker has just gone past it
        _call(redis, "XADD", JOURNAL.stream, identity, "e", event(dice), "b", "0")
    return identity


def publish(dice: random.Random, redis: Redis) -> Any:
    """On the live channel: no batch, of another journal, of another place."""
    epoch, _, offset = redis.xinfo_stream(JOURNAL.stream)["last-generated-id"].partition(b"-")
    first = int(offset) + dice.choice((1, 1, 0, -3, 2, 100, 2**70))
    head = dice.choice(
        (b"%s %d" % (epoch, first), b"%s %d" % (epoch, first), b"1 1", b"x 1", b"", b"\xff 1", b"%s -1" % epoch,
         b"%d %d" % (int(epoch) + 1, first), b"%s %s" % (epoch, "٣".encode()), dice.randbytes(20),
         b"99999999999999999999 1", b"%s %d %s" % (epoch, first, b"0" * 40), b"%s %d " % (epoch, first) + b"\xff" * 40)
    )  # fmt: skip
    message = b"\n".join((head, *[event(dice) for _ in range(dice.randrange(3))]))
    redis.publish(JOURNAL.live, message)
    return message


def keep(dice: random.Random, redis: Redis) -> Any:
    """Among the unfinished tasks, the finished ones, the workers."""
    identity = f"bad-{dice.randrange(50)}"
    key, name = dice.choice(
        (
            (JOURNAL.open, identity),
            (JOURNAL.open_lines, f"0:{identity}"),
            (JOURNAL.closed, identity),
            (JOURNAL.workers, "w"),
        )
    )
    value = dice.choice(
        (b"", b"x", b"5", b"-5 {}", b"5 " + event(dice), b"x " + event(dice), b"9" * 5000, b"%d " % 2**70 + event(dice),
         b"nan nan", b"1 inf", dice.randbytes(10), b"-1 " + json.dumps({**_GOOD, "id": identity}).encode())
    )  # fmt: skip
    redis.hset(key, dice.choice((name, dice.randbytes(5), "")), value)
    return key, value


@cache
def bomb() -> bytes:
    """What is more when it is decompressed."""
    return zlib.compress(bytes(70_000_000), 1)


def store(dice: random.Random, redis: Redis) -> Any:
    """In the result backend, with the bell that Celery rings; and of tasks that are not known to have ended."""
    identity = f"{dice.choice(('bad', 'stored'))}-{dice.randrange(50)}"
    good = {**_STORED, "status": dice.choice((*_STATES, None, "x" * 100_000)), "task_id": identity}
    good["result"] = dice.choice(
        (good["result"], json.loads(garbage.nested(600)), "\ud800", {"__type__": 1, "__value__": 2})
    )
    good["retries"] = dice.choice((0, -1, 10**30, 10**4000 if dice.random() < 0.1 else 2**64, "x"))
    body = json.dumps(good).encode() if dice.random() < 0.5 else garbage.json_text(dice, good)
    compressed = b"\x00celery-compressed\x00application/x-gzip\x00"  # celery/backends/base.py
    compressed += dice.choice((body, zlib.compress(body), zlib.compress(body)[:-3], bomb()))
    body = dice.choice((body, body, body, dice.randbytes(50), b"\x80\x04N.", compressed, compressed[:30]))
    key = f"celery-task-meta-{identity}"
    with Redis(
        connection_pool=redis.connection_pool.__class__(**{**redis.connection_pool.connection_kwargs, "db": 14})
    ) as there:
        there.set(key, body)
        there.publish(key, dice.choice((body, b"", b"\xff")))
        there.publish(b"celery-task-meta-" + dice.randbytes(5), b"")
    return key, body


def claim(dice: random.Random, redis: Redis) -> Any:
    """Where it is remembered what was submitted."""
    key = JOURNAL.claim(f"id:claimed-{dice.randrange(5)}")
    value = dice.choice((b"", b"s", b"s a b", b"s a b c d", b"c x", b"\xff\xfe", b"s " * 50, dice.randbytes(20)))
    redis.set(key, value, px=60_000)
    return key, value


BESIDE: Final[tuple[Callable[[random.Random, Redis], Any], ...]] = (
    append,
    append,
    add,
    leap,
    publish,
    publish,
    keep,
    store,
    claim,
)


def _call(redis: Any, *command: Any) -> None:
    redis.execute_command(*command)


def _run(redis: Redis, script: str, keys: list[str], arguments: list[Any]) -> None:
    redis.register_script(script)(keys, arguments)


@pytest.mark.slow
@pytest.mark.timeout(240 + seconds("redis"))
def test_what_a_hostile_worker_writes(stage: Stage) -> None:
    """Good tasks go on meanwhile; each of their events comes, if late, or the client is told that it can not."""
    with stage.valkey.client() as redis:
        for number, dice in cases("redis"):
            way = dice.choice(BESIDE)
            with told("hostile_worker", number, way.__name__):
                data = way(dice, redis)
            with told("hostile_worker", number, (way.__name__, data)):
                _look(stage, dice, number)
        stage.judge(*EXPECTED)


def _look(stage: Stage, dice: random.Random, number: int) -> None:
    """As clients do: the good ones, and those who ask for just what was written."""
    if number % 30 == 0:
        assert stage.get(f"/api/tasks?limit={dice.choice((1, 1000))}") == 200
        assert stage.get(f"/api/tasks/bad-{dice.randrange(50)}") in (200, 404, 503)
        assert stage.get(f"/api/tasks/stored-{dice.randrange(50)}") in (200, 404, 503)
        assert stage.get(f"/api/tasks/stored-{dice.randrange(50)}/result") in (200, 404, 409, 410, 415, 503)
        body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": f"claimed-{dice.randrange(5)}"}}
        assert stage.post("/api/tasks", body) in (202, 403, 422, 503)
    stage.breathe()


_WRONG: Final = (
    ("stream", "open", "open_lines", "closed", "lease", "workers"),
    (
        ("SET", "x"),
        ("RPUSH", "x"),
        ("SADD", "x"),
        ("HSET", "x", "y"),
        ("XADD", "1-1", "x", "y"),
        ("XADD", "18446744073709551615-18446744073709551615", "e", "x"),
    ),
)
#: Without these nothing can be appended.
_NEEDED: Final = ("stream", "open", "open_lines", "closed")


def test_keys_of_the_wrong_type_are_survived(stage: Stage) -> None:
    """There is nothing to go on with, so the relay says so, and goes on when it is there again."""
    stage.submit()
    stage.settle()
    with stage.valkey.client() as redis:
        for name in _WRONG[0]:
            for command, *arguments in _WRONG[1]:
                key = getattr(JOURNAL, name)
                with redis.pipeline() as pipe:
                    pipe.delete(key)
                    pipe.execute_command(command, key, *arguments)
                    pipe.publish(JOURNAL.live, b"1 1")  # what makes a relay look
                    pipe.execute()
                stage.post("/api/tasks", {"task": "tasks.add", "args": [1, 2]})
                assert stage.get("/healthz") == 200
                if command == "SET" and name in _NEEDED:
                    wait_for(lambda: not stage.relay.ready(), what="/readyz to say that it cannot be appended to")
                redis.delete(key)
        redis.publish(JOURNAL.live, b"1 1")
        wait_for(stage.relay.ready, timeout=15, what=f"the relay to be ready again\n{stage.relay.output[-3000:]}")
        began = time.monotonic()
        while stage.post("/api/tasks", {"task": "tasks.add", "args": [1, 2]}) != 202:
            assert time.monotonic() - began < 10
    stage.sent.clear()
    stage.judge(*EXPECTED, "could not be recorded", "be appended to")

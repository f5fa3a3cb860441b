"""Arguments that no worker can decode: refused with their place, before anything is claimed or sent."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from kombu import serialization
from kombu.exceptions import KombuError

from tests.relay.support import celery_app, gateway_to, journal, queued, request
from tests.support.valkey import Valkey
from watcher.core.errors import BadArguments
from watcher.core.permissions import OPEN
from watcher.relay.submit import decodable

pytestmark = pytest.mark.anyio


def tag(kind: Any, value: Any) -> dict[str, Any]:
    return {"__type__": kind, "__value__": value}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def check(args: list[Any], kwargs: dict[str, Any], serializer: str = "json") -> None:
    decodable.check(args, kwargs, serializer, lambda: ["x"])


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ([tag("datetime", "garbage")], {}, "argument 'x': no worker can decode it, whose __value__ is not a datetime"),
        ([1, tag("date", 5)], {}, "argument 'args[1]': "),
        ([], {"when": tag("time", "late")}, "argument 'when': no worker can decode it, whose __value__ is not a time"),
        ([{"a": [0, {"b": tag("uuid", {})}]}], {}, "argument 'x': no worker can decode .a[1].b in it"),
        ([[1] * 999 + [tag("decimal", "x")]], {}, "no worker can decode [999] in it, whose __value__ is not a decimal"),
        ([tag("bytes", tag("bytes", "x"))], {}, "argument 'x'"),
        ([tag("bytes", 5)], {}, "whose __value__ is not a bytes"),
        ([tag("base64", "Y")], {}, "whose __value__ is not a base64"),
        ([tag("uuid", {"hex": "1"})], {}, "whose __value__ is not a uuid"),
        ([tag("set", [])], {}, "whose __type__ is not one of base64, bytes, date, datetime, decimal, time, uuid"),
        ([tag(["datetime"], "x")], {}, "whose __type__ is not one of "),
        ([tag(None, None)], {}, "whose __type__ is not one of "),
        ([], tag("bytes", "x"), "the keyword arguments together encode another value"),
        ([], tag("nothing", "x"), "the keyword arguments together encode another value"),
        ([nested(940)], {}, "nested too deeply"),
    ],
)  # fmt: skip
def test_the_place_is_named(args: list[Any], kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        check(args, kwargs)
    assert said in str(refused.value)
    assert refused.value.argument in (None, "x", "args[1]", "when")


@pytest.mark.parametrize(
    ("args", "serializer"),
    [
        ([tag("datetime", "2030-01-31T12:00:00Z")], "json"),
        ([{**tag("datetime", "garbage"), "more": 1}, {"__type__": "x"}], "json"),
        (["__type__", nested(300)], "json"),
        ([tag("datetime", "garbage")], "yaml"),
        ([tag("datetime", "garbage")], "pickle"),
        ([tag("datetime", "garbage")], "one that is not installed"),
    ],
)
def test_what_a_worker_can_decode_is_let_through(args: list[Any], serializer: str) -> None:
    check(args, {"__type__": 1}, serializer)


def test_a_serializer_of_the_apps_own_is_tried() -> None:
    def decode(text: str) -> Any:
        return json.loads(text, object_hook=lambda found: found["value"] if "other" in found else found)

    serialization.register("other", json.dumps, decode, "application/x-other")
    try:
        check([{"value": 1}], {}, "other")
        with pytest.raises(BadArguments, match=r"argument 'x': no worker can decode \[0\] in it, which its serializer"):
            check([[{"other": 1}]], {}, "other")
    finally:
        serialization.unregister("other")


def test_nothing_is_let_through_that_is_dropped() -> None:
    """Random calls, and what kombu makes of them."""
    chance = random.Random(15)
    kinds = ("datetime", "date", "time", "bytes", "base64", "decimal", "uuid", "other", 5)
    values: tuple[Any, ...] = ("", "x", "2030-01-31", "1.5", "YQ==", 7, None, {"hex": "0" * 32}, [])

    def value(depth: int) -> Any:
        choice = chance.random()
        if choice < 0.2 and depth < 4:
            return [value(depth + 1) for _ in range(chance.randrange(3))]
        if choice < 0.4 and depth < 4:
            return {chance.choice(("a", "__type__", "__value__")): value(depth + 1) for _ in range(3)}
        return tag(chance.choice(kinds), chance.choice(values)) if choice < 0.6 else chance.choice(values)

    dropped = 0
    for _ in range(500):
        args, kwargs = [value(0), value(0)], {"k": value(0)}
        data = json.dumps([args, kwargs, {}])
        try:
            serialization.loads(data, "application/json", "utf-8", accept=["application/json"])
        except KombuError:
            dropped += 1
            with pytest.raises(BadArguments, match=r"argument '(x|args.1.|k)': "):
                check(args, kwargs)
        else:
            check(args, kwargs)
    assert 100 < dropped < 450


async def test_it_is_refused_before_anything_is_claimed(valkey: Valkey) -> None:
    app = celery_app(valkey.url(15))

    @app.task(name="tasks.loose", shared=False)
    def loose(seconds: object) -> None:
        raise NotImplementedError

    async with gateway_to(app, valkey.url()) as (gateway, redis):
        for args in ({"seconds": tag("decimal", "x")}, {"seconds": [tag("x", 1)]}):
            with pytest.raises(BadArguments, match="argument 'seconds'"):
                await gateway.submit(json.dumps({"task": "tasks.loose", "kwargs": args}).encode(), OPEN)
        with pytest.raises(BadArguments, match=r"argument 'seconds': no worker can decode \[0\] in it"):
            await gateway.submit(request("tasks.loose", [tag("x", 1)]), OPEN, key="again")
        assert await redis.dbsize() == 0
        await gateway.submit(request("tasks.loose", [tag("date", "2030-01-31")]), OPEN, key="again")
    assert [event.state for event in journal(valkey)] == ["PENDING"]
    assert len(queued(valkey)) == 1

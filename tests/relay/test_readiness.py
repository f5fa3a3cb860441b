"""/readyz says no where the relay runs and Redis answers, and all the same nobody can append to the journal."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from tests.relay.serving import is_problem, listening
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.journal import Journal
from watcher.settings import Settings

pytestmark = pytest.mark.anyio


async def answers(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.get("/readyz")).status_code == status


async def test_what_stands_in_the_way_of_the_journal_is_named(valkey: Valkey) -> None:
    key = Journal().closed_older
    with valkey.client() as redis:
        async with listening(valkey.url(), None, Settings()) as (client, _):
            assert await answers(client, 200)
            redis.set(key, "somebody else's")
            await eventually(partial(answers, client, 503), what="/readyz to say no")
            is_problem(await client.get("/readyz"), 503, f"Redis: {key}: WRONGTYPE")
            redis.delete(key)
            await eventually(partial(answers, client, 200), what="/readyz to say yes again")

"""A relay names a server whose version is known to be dangerous, once, and needs no right to find out."""

from __future__ import annotations

import pytest

from tests.support.processes import relay
from tests.support.redises import VERSIONS, running
from watcher.journal.connect_async import async_client
from watcher.relay.redis_advisories import FIXED, danger, is_fixed

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("server", "version", "fixed"),
    [
        ("redis", (6, 2, 19), False),
        ("redis", (6, 2, 20), True),
        ("redis", (7, 0, 15), False),
        ("redis", (7, 2, 10), False),
        ("redis", (7, 2, 11), True),
        ("redis", (7, 4, 5), False),
        ("redis", (8, 0, 3), False),
        ("redis", (8, 2, 1), False),
        ("redis", (8, 2, 2), True),
        ("redis", (8, 4, 0), True),
        ("redis", (5, 0, 14), False),
        ("valkey", (7, 2, 10), False),
        ("valkey", (8, 0, 6), True),
        ("valkey", (8, 1, 3), False),
        ("valkey", (8, 1, 4), True),
        ("valkey", (9, 0, 0), True),
    ],
)
async def test_which_versions_are_fixed(server: str, version: tuple[int, ...], fixed: bool) -> None:
    assert is_fixed(server, version) is fixed


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_is_asked_without_a_right_to_anything(version: str) -> None:
    with running(version) as server, server.client() as redis:
        redis.execute_command("ACL", "SETUSER", "nobody", "on", ">secret", "-@all")
        async with async_client(server.url(user="nobody:secret")) as client:
            told = await danger(client)
        refused = {each["object"].partition("|")[0] for each in redis.acl_log()}
        assert refused <= {"client"}  # by which redis-py introduces itself
    assert (told is None) == (version == "valkey")
    assert told is None or told.startswith(f"Redis {version.removeprefix('redis-')}.")


async def test_a_relay_says_so_once_in_its_log() -> None:
    with running("redis-7.0") as server, relay(None, env={"WATCHER_REDIS_URL": server.url()}) as serving:
        assert serving.stderr.count("CVE-2025-49844") == 1
        for line in FIXED["redis"]:
            assert ".".join(map(str, line)) in serving.stderr
    with running("valkey") as server, relay(None, env={"WATCHER_REDIS_URL": server.url()}) as serving:
        assert "CVE" not in serving.stderr

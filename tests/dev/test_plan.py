"""Which Redis `watcher up` uses: only what is on this machine or was named, and never another's queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.dev.plan import Address, Urls, plan

LOCAL = "redis://127.0.0.1:6379"
REMOTE = "redis://redis.example:6379"


def urls(
    *, named: str | None = None, broker: str | None = None, backend: str | None = None, journal: str | None = None
) -> Urls:
    return Urls(named, broker, backend, named or journal or backend or broker)


def yes(_url: str) -> bool:
    return True


def no(_url: str) -> bool:
    return False


def never(url: str) -> bool:
    raise AssertionError(f"{url} was asked, which is not on this machine")


def test_redis_on_loopback_that_answers_is_used() -> None:
    decided = plan(urls(broker=f"{LOCAL}/15", backend=f"{LOCAL}/14"), yes)
    assert (decided.stand_ins, decided.elsewhere, decided.moved) == ((), None, {})
    assert decided.notes == (
        "broker: Redis at redis://127.0.0.1:6379/15",
        "result backend: Redis at redis://127.0.0.1:6379/14",
        "journal: Redis at redis://127.0.0.1:6379/14",
    )


def test_embedded_server_listens_at_the_unreachable_url() -> None:
    decided = plan(urls(broker=f"{LOCAL}/15", backend=f"{LOCAL}/14"), no)
    assert decided.stand_ins == (Address("127.0.0.1", 6379),)
    assert decided.moved == {}
    assert decided.environment(LOCAL.format) == {}


def test_two_addresses_get_two_servers_and_one_that_answers_none() -> None:
    broker, backend, journal = (f"redis://localhost:{port}/0" for port in (7001, 7002, 7003))
    decided = plan(urls(broker=broker, backend=backend, journal=journal), lambda url: url == journal)
    assert decided.stand_ins == (Address("localhost", 7001), Address("localhost", 7002))


def test_one_address_by_two_names_gets_one_server() -> None:
    decided = plan(urls(broker="redis://127.0.0.1:7000/15", backend="redis://localhost:7000/20"), no)
    assert decided.stand_ins == (Address("localhost", 7000, databases=21),)


def test_password_and_database_of_the_url_are_the_stand_ins_too() -> None:
    decided = plan(urls(broker="redis://me:p%40ss@localhost:7000/20", backend="redis://localhost:7000/3"), no)
    assert decided.stand_ins == (Address("localhost", 7000, "me", "p@ss", databases=21),)
    assert not any("p%40ss" in note or "p@ss" in note for note in decided.notes)


@pytest.mark.parametrize(
    ("url", "locked"),
    [
        ("redis://localhost:7000/3", "redis://:p%40ss@localhost:7000/3"),
        ("redis://localhost:7000/3?socket_timeout=5", "redis://:p%40ss@localhost:7000/3?socket_timeout=5"),
        ("redis://me@127.0.0.1:7000", "redis://me:p%40ss@127.0.0.1:7000"),
        ("redis://[::1]:7000/3", "redis://:p%40ss@[::1]:7000/3"),
        ("redis://", "redis://:p%40ss@localhost"),
        ("redis:///3", "redis://:p%40ss@localhost/3"),
        ("redis://localhost/3;redis://127.0.0.1:7001/3", "redis://:p%40ss@localhost/3;redis://127.0.0.1:7001/3"),
    ],
)
def test_embedded_server_gets_a_password_if_the_url_has_none(url: str, locked: str) -> None:
    decided = plan(urls(broker=url), no, "p@ss")
    assert [each.password for each in decided.stand_ins] == ["p@ss"]
    assert decided.locked == {"broker": locked, "journal": locked}
    assert decided.environment(str)["CELERY_BROKER_URL"] == locked
    assert "p%40ss" not in repr(decided)
    own = plan(urls(broker="redis://:mine@localhost"), no, "p@ss")
    assert ([each.password for each in own.stand_ins], own.locked) == (["mine"], {})
    assert not plan(urls(broker=url), no).locked


@pytest.mark.parametrize(
    "url",
    [
        f"{REMOTE}/3",
        "rediss://redis.example/3",
        "redis://10.0.0.1/3",
        "redis://[2001:db8::1]:6379/3",
        "sentinel://a.example:26379/3",
        "redis://127.0.0.1:6379/3;redis://redis.example:6379/3",
    ],
)
def test_redis_of_another_machine_is_neither_asked_nor_used(url: str) -> None:
    decided = plan(Urls(None, url, url, None), never)
    assert decided.moved == {"broker": 3, "result backend": 3, "journal": 0}
    assert decided.elsewhere == 16
    assert decided.environment("redis://127.0.0.1:1/{}".format) == {
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/3",
        "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/3",
        "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/3",
        "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/3",
        "WATCHER_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    assert any("--redis-url" in note for note in decided.notes)


def test_named_redis_is_used_wherever_it_is() -> None:
    decided = plan(urls(named=f"{REMOTE}/0", broker=f"{REMOTE}/15", backend=f"{REMOTE}/14"), never)
    assert (decided.stand_ins, decided.elsewhere, decided.moved) == ((), None, {})


def test_naming_one_remote_redis_does_not_open_another() -> None:
    decided = plan(urls(named=f"{REMOTE}/0", broker="redis://other.example:6379/15"), never)
    assert decided.moved == {"broker": 15}


def test_amqp_broker_is_kept_and_the_journal_is_placed_elsewhere() -> None:
    decided = plan(Urls(None, "amqp://guest:secret@rabbit.example//", "rpc://", None), no)
    assert (decided.stand_ins, decided.elsewhere, decided.moved) == ((), 16, {"journal": 0})
    assert "secret" not in str(decided.notes)


def test_failover_broker_is_embedded_at_its_first_address() -> None:
    both = "redis://127.0.0.1:7000/15;redis://127.0.0.1:7001/3"
    decided = plan(
        urls(broker=both, journal="redis://127.0.0.1:7000/15"), lambda url: ":7001" in url and ";" not in url
    )
    assert (decided.stand_ins, decided.moved) == ((Address("127.0.0.1", 7000),), {})
    assert all("redis://127.0.0.1:7000/15, so" in note for note in decided.notes)
    remote = both.replace("127.0.0.1:7001", "redis.example")
    assert plan(urls(broker=remote, journal="redis://127.0.0.1:7000/15"), no).moved == {"broker": 15}


@pytest.mark.parametrize(
    "url", ["rediss://localhost/5", "redis+socket:///run/redis.sock?virtual_host=5", "unix:///run/redis.sock?db=5"]
)
def test_local_redis_that_cannot_be_embedded_is_moved(url: str) -> None:
    assert plan(urls(broker=url), no).moved == {"broker": 5, "journal": 5}
    assert plan(urls(broker=url), yes).moved == {}


_hosts = st.sampled_from(["127.0.0.1", "localhost", "[::1]", "redis.example", "10.1.2.3"])
_redis = st.builds("redis://{}:{}/{}".format, _hosts, st.integers(1, 65535), st.integers(0, 40))
_url = st.none() | _redis | st.just("amqp://rabbit.example//")


@given(broker=_url, backend=_url, named=st.none() | _redis, up=st.sets(_redis))
def test_every_use_of_redis_is_local_named_or_moved(
    broker: str | None, backend: str | None, named: str | None, up: set[str]
) -> None:
    asked = []

    def answers(url: str) -> bool:
        asked.append(url)
        return url in up

    journal = named or next((url for url in (backend, broker) if url and url.startswith("redis")), None)
    decided = plan(Urls(named, broker, backend, journal), answers)
    assert not any("example" in url or "10.1.2.3" in url for url in asked)
    for use, url in {"broker": broker, "result backend": backend, "journal": journal}.items():
        if url is None or "amqp" in url:
            assert use not in decided.moved or (use == "journal" and url is None)
        elif use not in decided.moved:
            local = any(host in url for host in ("127.0.0.1", "localhost", "[::1]"))
            assert local or (named is not None and url.rsplit("/", 1)[0] == named.rsplit("/", 1)[0])
    assert (decided.elsewhere is None) == (not decided.moved)


def test_a_sentinel_is_not_asked_and_not_used() -> None:
    """It speaks no command of a Redis's that would say whether one is there."""
    decided = plan(urls(broker="sentinel://127.0.0.1:26379/3;sentinel://localhost:26380", journal=None), never)
    assert decided.moved == {"broker": 3, "journal": 3}
    assert "an embedded Valkey instead of sentinel://127.0.0.1:26379/3" in decided.notes[0]
    assert "isn't contacted" in decided.notes[0]

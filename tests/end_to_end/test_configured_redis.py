"""Worker, relay, `watcher.results` and `watcher up` meet at the Redis that an app's own settings of Celery name."""

from __future__ import annotations

import json
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.certificates import Authority
from tests.support.processes import ROOT, program, relay, worker
from tests.support.redises import running
from tests.support.waiting import wait_for
from watcher.journal.layout import Journal

PASSWORD = secrets.token_hex(16)
AWAITING = """
import anyio
import watcher
from configured import app, double

async def main():
    async with watcher.results(app) as results:
        print(await results.wait(double.delay(21), timeout=15))

anyio.run(main)
"""


class Place:
    """A Redis, what an app has to say of it, and a client of the test's own."""

    def __init__(self, folder: Path, redis: Redis, **conf: Any) -> None:
        self.redis = redis
        (folder / "configured.py").write_text(
            "from celery import Celery\n\napp = Celery('configured', set_as_current=False)\n"
            f"app.conf.update(**{conf!r})\n\n\n@app.task\ndef double(x):\n    return 2 * x\n"
        )
        self.environment = {"PYTHONPATH": f"{folder}:{ROOT}"}

    def has_journal(self) -> bool:
        """Whether events and a worker's signs of life are there."""
        return self.redis.exists(Journal().stream, Journal().workers) == 2


@contextmanager
def by_tls(folder: Path, authority: Authority) -> Iterator[Place]:
    """A Redis that wants TLS, a client's certificate, a name and a password; none of it stands in a URL."""
    tls: dict[str, Any] = {
        "ssl_cert_reqs": "required", "ssl_ca_certs": str(authority.ca),
        "ssl_certfile": str(authority.client_cert), "ssl_keyfile": str(authority.client_key),
    }  # fmt: skip
    with running("redis-7.0", tls=authority) as server:
        with server.client() as redis:
            redis.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "&*", "+@all")
            redis.execute_command("ACL", "SETUSER", "default", "off")
        with server.client(username="app", password=PASSWORD, db=14) as redis:
            yield Place(
                folder, redis, broker_url=server.url(15), result_backend=server.url(14),
                broker_use_ssl=tls, redis_backend_use_ssl=tls, broker_user="app", broker_password=PASSWORD,
                redis_username="app", redis_password=PASSWORD, redis_backend_health_check_interval=10,
                redis_socket_timeout=30, result_backend_transport_options={"global_keyprefix": "mine"},
            )  # fmt: skip


@contextmanager
def by_tls_unchecked(folder: Path, authority: Authority) -> Iterator[Place]:
    """A broker by TLS and not a word about certificates: Celery looks at none there. No result backend."""
    with running("redis-7.0", "--tls-auth-clients", "no", tls=authority) as server, server.client(db=14) as redis:
        yield Place(folder, redis, broker_url=server.url(14))


@contextmanager
def by_provider(folder: Path, _authority: Authority) -> Iterator[Place]:
    """A Redis whose users and passwords come from a class of the app's."""
    (folder / "provided.py").write_text(
        "from redis import CredentialProvider\n\n\nclass Provider(CredentialProvider):\n"
        f"    def get_credentials(self):\n        return ('app', '{PASSWORD}')\n"
    )
    with running("valkey") as server:
        with server.client() as redis:
            redis.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", "~*", "&*", "+@all")
            redis.execute_command("ACL", "SETUSER", "default", "off")
        with server.client(username="app", password=PASSWORD, db=14) as redis:
            yield Place(
                folder, redis, broker_url=f"{server.url(15)}?credential_provider=provided:Provider",
                result_backend=server.url(14), redis_backend_credential_provider="provided:Provider",
            )  # fmt: skip


@contextmanager
def by_socket(folder: Path, _authority: Authority) -> Iterator[Place]:
    """A Redis at a socket of this machine's, as Celery writes that."""
    with running("valkey", "--port", "0") as server, server.client(db=14) as redis:
        at = f"redis+socket://{server.socket}?virtual_host="
        yield Place(folder, redis, broker_url=f"{at}15", result_backend=f"{at}14")


@contextmanager
def without_eval(folder: Path, _authority: Authority) -> Iterator[Place]:
    """A Redis that has no EVAL any more."""
    with running("redis-7.0", "--rename-command", "EVAL", "") as server, server.client(db=14) as redis:
        yield Place(folder, redis, broker_url=server.url(15), result_backend=server.url(14))


@contextmanager
def by_failovers(folder: Path, _authority: Authority) -> Iterator[Place]:
    """A broker with two addresses and no result backend: the journal is at the first."""
    with running("valkey") as server, server.client(db=14) as redis:
        yield Place(folder, redis, broker_url=[server.url(14), server.url(13)])


@pytest.mark.parametrize("place", [by_tls, by_tls_unchecked, by_provider, by_socket, without_eval, by_failovers])
def test_all_programs_meet_at_the_redis_that_celery_uses(place: Any, tmp_path: Path, authority: Authority) -> None:
    with (
        place(tmp_path, authority) as found,
        worker("configured", "-I", "watcher.worker", pool="solo", env=found.environment) as working,
        relay("configured", env=found.environment) as serving,
    ):
        done = submit(serving.url)
        assert (done["state"], done.get("result"), done["source"]) == ("SUCCESS", 42, "signal")
        wait_for(found.has_journal, what=f"events and signs of life in database 14\n{working.output}")
        assert "no events are published" not in working.output
        assert PASSWORD not in working.output + serving.output
        if place is by_failovers:
            said = "the journal stays at the first of the broker's addresses"
            assert (working.stderr.count(said), serving.stderr.count(said)) == (1, 1)
        if place in (by_failovers, by_tls_unchecked):
            return
        with program(sys.executable, "-c", AWAITING, env=found.environment) as awaiting:
            assert awaiting.wait(30) == 0, awaiting.output
            assert awaiting.stdout.strip() == "42"


@pytest.mark.parametrize("place", [by_tls, by_provider, by_socket])
def test_up_uses_that_redis_too(place: Any, tmp_path: Path, authority: Authority) -> None:
    up = [sys.executable, "-m", "watcher", "up", "-A", "configured", "--port", "0", "-P", "solo"]
    with place(tmp_path, authority) as found, program(*up, env=found.environment) as running_up:
        url = running_up.wait_for_output(r"(?m)^http://\S+", timeout=60).group()
        assert submit(url.rstrip("/"))["result"] == 42
        wait_for(found.has_journal, what=f"events and signs of life in database 14\n{running_up.output}")
        assert "embedded" not in running_up.stderr
        assert PASSWORD not in running_up.output
        assert running_up.stop() == 0


def submit(url: str) -> Any:
    body = json.dumps({"task": "configured.double", "args": [21]}).encode()
    headers = {"Content-Type": "application/json", "Prefer": "wait=20"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/api/tasks", body, headers), timeout=30) as response:
        return json.load(response)

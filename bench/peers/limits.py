"""Two relays in C that do nothing but relay: what the kernel allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.building import compiled
from bench.generator import Subscription
from bench.peers.base import Serving, listening
from tests.support.processes import free_port
from tests.support.valkey import Valkey


@dataclass(frozen=True)
class Limit:
    """bench/relay.c: ``each`` makes one send for each message and client, ``join`` as few as it can."""

    mode: str

    @property
    def name(self) -> str:
        return f"c-{self.mode}"

    def prepare(self) -> str:
        compiled("relay")
        return "bench/relay.c"

    @contextmanager
    def serve(self, valkey: Valkey) -> Iterator[Serving]:
        port = free_port()
        with listening(port, compiled("relay"), str(port), str(valkey.port), self.mode) as running:
            yield Serving(
                port=port, pid=running.pid, way="pubsub", address=valkey.url(),
                fan_out=Subscription("/sub/all"), unicast=Subscription("/sub/task-{n}"),
            )  # fmt: skip

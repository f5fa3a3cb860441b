"""What the driver needs of a peer."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from bench.generator import Subscription
from bench.machine import SERVER_CORE, family, on_core
from tests.support.processes import Program, program
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for


@dataclass(frozen=True)
class Serving:
    """A peer that runs.

    :param way: how events reach it, one of :data:`bench.publish.WAYS`; ``address`` is where.
    :param python: interpreter that has what the way needs.
    :param announce: makes so many tasks known before clients ask for them, where the peer knows tasks.
    """

    port: int
    pid: int
    way: str
    address: str
    fan_out: Subscription
    unicast: Subscription
    python: str = sys.executable
    announce: Callable[[int], None] = lambda count: None

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return family([self.pid])


class Peer(Protocol):
    """Something that hands on events to WebSocket clients."""

    @property
    def name(self) -> str:
        """What it is called, on the command line too."""

    def prepare(self) -> str:
        """Install or build what it needs; returns its version.

        :raises bench.building.Unavailable: it can't be had on this machine.
        """

    def serve(self, valkey: Valkey) -> AbstractContextManager[Serving]:
        """Run it on the server's core."""


@contextmanager
def listening(port: int, *command: str, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run a server on the server's core, and wait until it answers over HTTP, with whatever."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            if running.process.poll() is not None:
                raise RuntimeError(running.output) from None
            return False

    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            running = stack.enter_context(program(*command, env=env))
        wait_for(answers, timeout=20, what=f"{running.name} to answer")
        yield running

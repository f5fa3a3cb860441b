"""The workloads that every peer goes through: each measures one peer once and returns its figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.building import Unavailable
from bench.generator import Generator
from bench.machine import Usage, family, pss
from bench.peers.base import Serving
from tests.support.processes import ROOT, environment
from tests.support.valkey import Valkey

#: What a load generator may use of its core before the figure is marked as its own instead of the server's.
_SATURATED = 0.8
#: Flat out, a server that was idle, or waited for others, for more than the rest was not what bounded the figure.
_BUSY = 0.9
#: What has not come when none has come for so long, in seconds, is lost.
_QUIET = 8.0


@dataclass
class Result:
    """One measurement.

    :param figures: what is compared: name with unit → value.
    :param notes: what tells whether to believe it.
    """

    figures: dict[str, float]
    notes: dict[str, Any] = field(default_factory=dict)


@contextmanager
def publishing(serving: Serving, load: Generator, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A publisher that runs, in the way that the peer has; see bench/publish.py."""
    command = [serving.python, "-m", "bench.publish", serving.way, serving.address]
    command += ["--progress", str(load.progress), "--clients", str(load.clients), *options]
    publisher = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield publisher
    finally:
        publisher.kill()
        publisher.communicate()


@dataclass(frozen=True)
class Flow:
    """Events flow from a publisher to the clients.

    :param rate: events a second; None is flat out.
    :param drain: how long what is under way at the end is waited for, in seconds; a peer may have been outrun by far.
    """

    clients: int
    unicast: bool
    rate: float | None
    seconds: float = 4.0
    warm_up: float = 1.0
    drain: float = 10.0

    def __call__(self, serving: Serving, valkey: Valkey) -> Result:
        if self.unicast:
            serving.announce(self.clients)
        subscription = serving.unicast if self.unicast else serving.fan_out
        with Generator(serving.port, self.clients, subscription) as load:
            options = ["--seconds", str(self.warm_up + self.seconds + 0.5)]
            options += ["--unicast"] if self.unicast else []
            options += ["--rate", str(self.rate)] if self.rate is not None else []
            with publishing(serving, load, *options) as publisher:
                return self._measure(serving, valkey, load, publisher)

    def _measure(self, serving: Serving, valkey: Valkey, load: Generator, publisher: subprocess.Popen[str]) -> Result:
        load.wait_for(1, quiet=15)
        time.sleep(self.warm_up)
        load.mark()
        server, broker, source = Usage(serving.pids), Usage([valkey.pid]), Usage(family([publisher.pid]))
        time.sleep(self.seconds)
        used, wanted = server.shares()
        counted = load.mark()
        notes = {"server_cpu": used, "server_wanted": wanted, "load_cpu": counted["cpu"] / counted["seconds"]}
        notes |= {"valkey_cpu": broker.shares()[0], "publisher_cpu": source.shares()[0]}
        output, _ = publisher.communicate(timeout=60)
        published = json.loads(output)["next"]
        expected = published if self.unicast else published * self.clients
        drained = load.wait_for(expected, quiet=_QUIET, limit=self.drain)
        rest = load.mark()
        notes = {name: round(share, 3) for name, share in notes.items()} | {
            "published": published,
            # Of a peer that was outrun nobody can say what it would have lost.
            "lost": expected - load.arrived if drained else None,
            "holes": counted["holes"] + rest["holes"],
            "duplicates": counted["duplicates"] + rest["duplicates"],
            "closed": rest["closed"],
            "messages_per_frame": round(counted["messages"] / max(1, counted["frames"]), 2),
            "frames_per_read": round(counted["frames"] / max(1, counted["reads"]), 2),
        }
        return self._result(counted, notes)

    def _result(self, counted: dict[str, Any], notes: dict[str, Any]) -> Result:
        delivered = counted["messages"] / counted["seconds"]
        saturated = notes["load_cpu"] > _SATURATED
        if self.rate is None:
            saturated |= notes["server_wanted"] < _BUSY
            notes |= {"saturated": saturated, "p50_ms": counted["p50"], "p99_ms": counted["p99"]}
            figures = {
                "delivered/s": delivered,
                "delivered/s of server CPU": delivered / max(0.01, notes["server_cpu"]),
            }
            return Result(figures, notes)
        wanted = self.rate * (1 if self.unicast else self.clients)
        notes |= {"saturated": saturated, "kept_up": delivered > 0.97 * wanted}
        notes |= {"p999_ms": counted["p999"], "max_ms": counted["max"]}
        return Result({"p50 ms": counted["p50"], "p99 ms": counted["p99"]}, notes)


def burst(serving: Serving, valkey: Valkey, clients: int = 1000, events: int = 20_000) -> Result:
    """What the server does by itself: it is stopped while events are published, and let go when all wait in Redis.

    Publishing takes more of a core than relaying where each event goes to one client, so that "flat out" is bounded by
    the publisher for whoever is faster.
    """
    if serving.way == "http":
        raise Unavailable("its events wait in itself, not in Redis, so it can't be stopped meanwhile")
    serving.announce(clients)
    with Generator(serving.port, clients, serving.unicast) as load:
        time.sleep(0.5)
        pids = serving.pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with publishing(serving, load, "--unicast", "--count", str(events)) as publisher:
                publisher.wait(120)
        finally:
            server = Usage(pids)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        drained = load.wait_for(events, quiet=_QUIET)
        used = server.seconds()
        counted = load.mark()
    generator = counted["cpu"] / max(1e-6, counted["active"])
    notes = {name: counted[name] for name in ("holes", "duplicates", "closed")}
    notes |= {
        "lost": events - counted["messages"] if drained else None,
        "load_cpu": round(generator, 3),
        "saturated": generator > _SATURATED,
    }
    delivered = counted["messages"]
    return Result(
        {"delivered/s": delivered / counted["active"], "µs of server CPU/message": used * 1e6 / delivered}, notes
    )


def idle(serving: Serving, valkey: Valkey, clients: int = 5000) -> Result:
    """Memory of the server for a connection that has subscribed once and is quiet."""
    serving.announce(clients)
    with Generator(serving.port, 100, serving.unicast):  # what is made at first use is not the connections'
        pass
    time.sleep(0.5)
    before = pss(serving.pids)
    with Generator(serving.port, clients, serving.unicast):
        time.sleep(1.0)
        after = pss(serving.pids)
    return Result({"KiB/connection": (after - before) / clients / 1024}, {"before_mib": round(before / 2**20, 1)})


def connect(serving: Serving, valkey: Valkey, clients: int = 5000) -> Result:
    """How fast clients come: TCP connection, handshake, subscription and its reply."""
    serving.announce(clients)
    with Generator(serving.port, 100, serving.unicast):
        pass
    server = Usage(serving.pids)
    with Generator(serving.port, clients, serving.unicast) as load:
        said = load.subscribed
        (used, wanted), generator = server.shares(), said["cpu"] / said["seconds"]
        notes = {
            "server_cpu": round(used, 3),
            "server_wanted": round(wanted, 3),
            "load_cpu": round(generator, 3),
            "saturated": generator > _SATURATED or wanted < _BUSY,
            "closed": load.mark()["closed"],
        }
    rate = clients / said["seconds"]
    return Result({"connections/s": rate, "connections/s of server CPU": rate / max(0.01, used)}, notes)


def hold(serving: Serving, valkey: Valkey, clients: int = 10_000) -> Result:
    """So many connections at once: all of them hear an event, and stay."""
    flow = Flow(clients, unicast=False, rate=2, seconds=5, drain=60)
    result = flow(serving, valkey)
    notes = result.notes
    return Result({"open": clients - notes["closed"], "p99 ms": result.figures["p99 ms"]}, notes)


Workload = Callable[[Serving, Valkey], Result]

#: Name → what is measured, and how it is told.
WORKLOADS: dict[str, tuple[Workload, str]] = {
    "w1": (Flow(1000, unicast=False, rate=None), "fan-out, 1,000 subscribers, 300-byte events, flat out"),
    "w1-50": (Flow(1000, unicast=False, rate=50), "fan-out, 1,000 subscribers, 50 events/s"),
    "w1-400": (Flow(1000, unicast=False, rate=400), "fan-out, 1,000 subscribers, 400 events/s"),
    "w2": (Flow(1000, unicast=True, rate=None), "unicast, 1,000 clients, each its own task, flat out"),
    "w2-burst": (burst, "unicast, 1,000 clients, 20,000 events that wait in Redis when the server is let go"),
    "w2-2000": (Flow(1000, unicast=True, rate=2000), "unicast, 1,000 clients, 2,000 events/s"),
    "idle": (idle, "idle connection with one subscription, of 5,000"),
    "connect": (connect, "connect and subscribe, 5,000 connections, 64 at a time"),
    "hold": (hold, "10,000 open connections, 2 events/s to each"),
}

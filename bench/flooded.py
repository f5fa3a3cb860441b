"""What a flood from elsewhere costs whoever submits: quiet and flooded seconds in turn; see bench/floods.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jwt
from redis import Redis

from bench.events import Message, message
from bench.floods import DEEP, KINDS, LARGE
from bench.machine import SERVER_CORE, Usage, family, on_core
from bench.publish import ByJournal
from bench.workloads import Result
from tests.support.processes import ROOT, environment, relay
from tests.support.valkey import Valkey
from watcher.core.permissions import issue

SECRET = "s" * 32
#: Seconds of each turn, and how often each of the two has its turn.
SECONDS = 6.0
TURNS = 2
#: Events in the history, and of them those of one task.
EVENTS = 100_000
ONE_TASKS = 20_000


def measured(kind: str, variant: str, valkey: Valkey) -> Result:
    """One kind of flood; ``variant`` begins with how many addresses it comes from."""
    addresses = int(variant.split(maxsplit=1)[0])
    fill(valkey)
    broker = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
    env = {**broker, "WATCHER_REDIS_URL": valkey.url(13), "WATCHER_SECRET": SECRET}
    took: dict[str, list[float]] = {"quiet": [], "flooded": []}
    worked: dict[str, list[float]] = {"quiet": [], "flooded": []}
    refused, shares, heard = list[str](), list[float](), list[int]()
    queued = list[int]()
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            running = stack.enter_context(relay("tasks", env=env))
        port = running.url.rpartition(":")[2]
        token = issue(SECRET, subject="good", submit=["*"], watch=["tasks"], ttl=3600)
        good = stack.enter_context(child("good", port, token, str(running.pid)))
        submit(good, 2.0)  # what is made when it is first wanted is there
        for _ in range(TURNS):
            quiet = submit(good, SECONDS)
            with child("flood", kind, port, token_of(kind), str(addresses), niceness=5) as flood:
                time.sleep(0.5)
                usage = Usage(family([running.pid]))
                flooded = submit(good, SECONDS)
                shares.append(usage.shares()[0])
                heard.append(stopped(flood))
            for name, told in (("quiet", quiet), ("flooded", flooded)):
                took[name] += told["took"]
                worked[name] += told["worked"]
            refused += flooded["refused"]
            with Redis.from_url(valkey.url(15)) as queue:
                queued.append(int(queue.llen("celery")))
                queue.flushdb()
    p99 = {name: percentile(values, 99) for name, values in took.items()}
    figures = {"quiet p99 ms": p99["quiet"], "flooded p99 ms": p99["flooded"], "×": p99["flooded"] / p99["quiet"]}
    figures |= {"quiet p50 ms": percentile(took["quiet"], 50), "flooded p50 ms": percentile(took["flooded"], 50)}
    figures |= {f"{name} p99 ms of server CPU": percentile(values, 99) for name, values in worked.items()}
    figures |= {"refused": float(len(refused)), "MB/s to the flood": sum(heard) / 1e6 / TURNS / SECONDS}
    notes = {"server_cpu": round(sum(shares) / TURNS, 3), "answered": len(took["flooded"]), "why": refused[:3]}
    notes["queued"] = queued
    return Result(figures, notes)


def percentile(values: Sequence[float], cut: int) -> float:
    """In milliseconds; of none at all without end."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * cut // 100)] * 1000 if ordered else float("inf")


def token_of(kind: str) -> str:
    """What the flood comes with."""
    if KINDS[kind].token is None:
        return issue(SECRET, subject="flood", ttl=3600, **KINDS[kind].grants)
    claims = {"exp": int(time.time()) + 3600, "watch": ["tasks"], "sub": "x" * 4000}
    return jwt.encode(claims, "another" * 5, algorithm="HS256")


def submit(good: subprocess.Popen[str], seconds: float) -> dict[str, list[Any]]:
    """How long each took, and how long the relay has worked meanwhile, both in seconds; why others were refused."""
    assert good.stdin is not None
    assert good.stdout is not None
    print(seconds, file=good.stdin, flush=True)
    told: dict[str, list[Any]] = json.loads(good.stdout.readline())
    return told


def stopped(flood: subprocess.Popen[str]) -> int:
    """End it; returns how many bytes it was answered with."""
    assert flood.stdin is not None
    assert flood.stdout is not None
    flood.stdin.close()
    return int(flood.stdout.readline() or 0)


@contextmanager
def child(*arguments: str, niceness: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Somebody who says "ready"; those who flood leave the others the core that they share."""
    command = ["nice", "-n", str(niceness), sys.executable, "-m", "bench.floods", *arguments]
    started = subprocess.Popen(
        command, cwd=ROOT, env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with started:
        try:
            if started.stdout is None or started.stdout.readline() != "ready\n":
                raise RuntimeError("bench.floods did not get ready")
            yield started
        finally:
            started.kill()


def fill(valkey: Valkey) -> None:
    """A full history, in which one task has told very much; and a large result."""
    journal = ByJournal(valkey.url(13))
    for first in range(0, EVENTS, journal.batch):
        made = (message(count, 1, unicast=False) for count in range(first, first + journal.batch))
        journal.send([deep(each) if first < ONE_TASKS else each for each in made])
    text = json.dumps({"status": "SUCCESS", "result": list(range(100_000)), "traceback": None, "task_id": LARGE})
    with Redis.from_url(valkey.url(14)) as results:
        results.set(f"celery-task-meta-{LARGE}", text)


def deep(told: Message) -> Message:
    """The same of one and the same task, which goes on."""
    line = json.loads(told.line) | {"id": DEEP, "root_id": DEEP, "state": "PROGRESS"}
    return Message(told.channel, DEEP, told.standing, json.dumps(line, separators=(",", ":")).encode())

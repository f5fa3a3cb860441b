"""What is measured of ourselves: variants of one thing, one after the other in each round."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import quantiles
from typing import Any

from bench import flooded, turns
from bench.building import HERE, Unavailable
from bench.events import message
from bench.floods import KINDS
from bench.machine import SERVER_CORE, Usage, family, on_core, rss
from bench.publish import ByJournal
from bench.workloads import Result
from tests.support.processes import ROOT, Relay, environment, relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for

_TASKS = 4000
#: These many tasks are done before the clock starts: the worker has then warmed up.
_WARM_UP = 500
#: Celery's get() waits for one task at a time, so several processes send.
_SENDERS = 4


def _env(valkey: Valkey, *, plugin: bool) -> dict[str, str]:
    env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
    # The journal apart from the results, so that those can be counted.
    return {**env, "WATCHER_REDIS_URL": valkey.url(13), "BENCH_PLUGIN": "1" if plugin else ""}


def overhead(variant: str, valkey: Valkey) -> Result:
    """Tasks a second of a worker with one prefork process, on tasks that wait in the queue already."""
    env = _env(valkey, plugin=variant == "plugin")
    _fill(env, _TASKS)
    options = ["-E"] if variant == "-E" else []
    with valkey.client(14) as results, ExitStack() as stack:

        def done(count: int) -> Callable[[], bool]:
            return lambda: int(results.dbsize()) >= count

        with on_core(SERVER_CORE):
            running = stack.enter_context(worker("bench.app", *options, concurrency=1, env=env))
        wait_for(done(_WARM_UP), timeout=30, what="the worker to warm up")
        first, begun, usage = int(results.dbsize()), time.monotonic(), Usage(family([running.pid]))
        wait_for(done(_TASKS), timeout=60, what="all tasks to be done")
        rate = (_TASKS - first) / (time.monotonic() - begun)
        used, wanted = usage.shares()
    figures = {"tasks/s": rate, "tasks/s of worker CPU": rate / max(0.01, used)}
    return Result(figures, {"server_cpu": round(used, 3), "server_wanted": round(wanted, 3)})


def in_turns(variant: str, valkey: Valkey, tasks: int = 12_000) -> Result:
    """The same worker with and without the plugin, every half second."""
    env = {**_env(valkey, plugin=True), "BENCH_PLUGIN": "turns"}
    _fill(env, tasks)
    with valkey.client(14) as results, ExitStack() as stack:
        with on_core(SERVER_CORE):
            stack.enter_context(worker("bench.app", concurrency=1, env=env))
        wait_for(lambda: int(results.dbsize()) >= _WARM_UP, timeout=30, what="the worker to warm up")
        return Result(turns.compared(turns.sampled(lambda: int(results.dbsize()), tasks)))


def _fill(env: dict[str, str], tasks: int) -> None:
    """Send so many tasks that nobody is told of."""
    code = f"from bench.app import noop\nfor _ in range({tasks}): noop.apply_async()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment({**env, "BENCH_PLUGIN": ""}), check=True)


def end_to_end(variant: str, valkey: Valkey, rate: float = 500, seconds: float = 6) -> Result:
    """From ``delay()`` to where it is known that the task has succeeded, in both ways at once, for the same tasks."""
    env = _env(valkey, plugin=True)
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            stack.enter_context(worker("bench.app", concurrency=1, env=env))
            running = stack.enter_context(relay("bench.app", env=env))
        listener = stack.enter_context(_child("bench.listener", running.ws_url, env=env))
        share = [str(rate / _SENDERS), str(seconds)]
        senders = [stack.enter_context(_child("bench.sender", *share, env=env)) for _ in range(_SENDERS)]
        for sender in senders:
            sender.stdin.write("go\n")  # type: ignore[union-attr]  # it was opened
            sender.stdin.flush()  # type: ignore[union-attr]
        reports = [json.loads(sender.stdout.readline()) for sender in senders]  # type: ignore[union-attr]
        rows = [row for report in reports for row in report["rows"]]
        time.sleep(1)
        listener.terminate()
        heard: dict[str, float] = json.loads(listener.stdout.readline())  # type: ignore[union-attr]
    missing = sum(identity not in heard for identity, _, _ in rows)
    by_get = [got - sent for _, sent, got in rows]
    by_socket = [heard[identity] - sent for identity, sent, _ in rows if identity in heard]
    cuts = {"get()": quantiles(by_get, n=100), "WebSocket": quantiles(by_socket, n=100)}
    figures = {f"{way} p{cut} ms": cuts[way][cut - 1] * 1000 for cut in (50, 99) for way in cuts}
    took = max(report["seconds"] for report in reports)
    notes = {"lost": missing, "tasks/s": round(len(rows) / took, 1), "kept_up": len(rows) / took > 0.97 * rate}
    return Result(figures, notes)


@contextmanager
def _child(module: str, *arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A Python program of the bench that says "ready" when it is."""
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(env), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with child:
        try:
            if child.stdout is None or child.stdout.readline() != "ready\n":
                raise RuntimeError(f"{module} did not get ready")
            yield child
        finally:
            child.kill()


def start(variant: str, valkey: Valkey, events: int = 100_000) -> Result:
    """From the start of the relay's process until it is ready, and its memory then."""
    journal = ByJournal(valkey.url(14))
    if variant != "empty":
        for first in range(0, events, journal.batch):
            journal.send([message(count, 1, unicast=False) for count in range(first, first + journal.batch)])
    env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            begun = time.monotonic()
            running: Relay = stack.enter_context(relay("tasks", env=env))
            seconds = time.monotonic() - begun
        return Result({"seconds": seconds, "MiB": rss(family([running.pid])) / 2**20})


def page(variant: str, valkey: Valkey) -> Result:
    """What bench/page.py measures in a real browser: it prints one line of JSON with ``figures`` and notes."""
    if not (HERE / "page.py").exists():
        raise Unavailable("there is no bench/page.py")
    done = subprocess.run([sys.executable, "-m", "bench.page"], cwd=ROOT, capture_output=True, text=True, check=True)
    notes: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Result(notes.pop("figures"), notes)


@dataclass(frozen=True)
class Study:
    """A thing to measure.

    :param variants: what is alternated; the first one is what the others are held against.
    :param rounds: at least so many.
    """

    measure: Callable[[str, Valkey], Result]
    variants: tuple[str, ...]
    told: str
    rounds: int = 3


STUDIES: dict[str, Study] = {
    "worker": Study(
        overhead, ("bare", "plugin", "-E"), f"worker overhead, {_TASKS:,} no-op tasks, prefork, 1 process", rounds=5
    ),
    "worker-turns": Study(
        in_turns,
        ("plugin",),
        "worker overhead, the same worker with and without the plugin every half second",
        rounds=5,
    ),
    "end-to-end": Study(
        end_to_end, ("celery-watcher",), "delay() to SUCCESS, 500 tasks/s, both ways at once for the same tasks"
    ),
    "start": Study(start, ("empty", "full"), "start of the relay: an empty journal, and one with 100,000 events"),
    "page": Study(page, ("celery-watcher",), "the page in a real browser"),
    **{
        f"flood-{kind}": Study(
            partial(flooded.measured, kind),
            ("1 address", "5 addresses"),
            f"a flood ({kind}), and submissions from elsewhere",
        )
        for kind in KINDS
    },
}

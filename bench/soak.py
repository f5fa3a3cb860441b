"""A soak: tasks flow for half an hour, and relay, worker and page stay as large as they are. `make soak`.

    make soak                        30 minutes at 200 tasks a second
    SOAK_SECONDS=300 make soak       a look
    make soak ARGS='--rate 400 --history 1000 --output soak.jsonl'
    make soak ARGS='--unwatched'     the worker without the plugin: what Celery's own memory does

A Valkey, a worker of two processes, a process that sends, a relay and its page in a Chromium run for themselves; most
tasks return, some report, retry or fail, and their results are kept. The history is small, so that it is full long
before the page has as many tasks as it keeps. From there on the memory of each is read, that of the page and of the
pool's processes after a collection, and the line through the figures says by how much each grows in 100,000 tasks. More
than 1 MiB is too much, and the exit code is 1. A line of JSON each look goes to --output.

What is read of a process is its anonymous resident memory (RssAnon, proc(5)): its pages of files come and go with what
the machine has room for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, sync_playwright

from bench.machine import family
from bench.page import metrics
from tests.support.chromium import bring
from tests.support.processes import ROOT, environment, program, relay
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for

APP = "tests.faults.app"
MIB = 1024 * 1024
#: By so much may each grow, in bytes, in so many tasks.
BOUND, PER = MIB, 100_000
#: From here on all are full: the page keeps 10,000 tasks (web/model/state.js).
FULL = 20_000
#: What is to stay flat; the rest is only told.
HELD = ("relay", "worker", "page")
_LOOKS = 150
#: While more tasks wait in the queue none are sent: what is unfinished is remembered, and would be seen as growth.
_WAITING = 1_000
_PROCESSES = 2
# Its log would fill the disk.
_WORKER = (
    sys.executable, "-m", "celery", "-A", APP, "worker", "-l", "critical", "-c", str(_PROCESSES),
    "--without-mingle", "--without-gossip", "-I", "bench.collecting",
)  # fmt: skip
_KINDS = {"work": 85, "report": 5, "flaky": 5, "fail": 5}


@dataclass
class Sample:
    """One look: after how many tasks, and bytes by what has them."""

    tasks: int
    seconds: float
    bytes: dict[str, int] = field(default_factory=dict)


class Sender(threading.Thread):
    """Sends at a steady rate, by a process of its own, until it is told to stop; slower where the worker is."""

    def __init__(self, rate: float, valkey: Valkey, env: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._rate = rate
        self._broker = valkey.client(15)
        self._random = random.Random(11)
        self._stopping = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sender"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment(env), cwd=ROOT,
        )  # fmt: skip

    def run(self) -> None:
        due, last = 0.0, time.monotonic()
        while not self._stopping.wait(0.02):
            now = time.monotonic()
            due, last = min(due + (now - last) * self._rate, self._rate), now
            if self.waiting() > _WAITING:
                due = 0.0
            orders = [json.dumps(self._order(self.sent + number)) for number in range(int(due))]
            assert self.process.stdin is not None
            self.process.stdin.write("".join(f"{order}\n" for order in orders).encode())
            self.process.stdin.flush()
            self.sent += len(orders)
            due -= len(orders)

    def waiting(self) -> int:
        """Tasks in the queue."""
        return int(str(self._broker.llen("celery")))

    def stop(self) -> None:
        self._stopping.set()
        if self.ident is not None:
            self.join()
        self.process.kill()
        self.process.wait()

    def _order(self, number: int) -> dict[str, Any]:
        (task,) = self._random.choices(tuple(_KINDS), tuple(_KINDS.values()))
        given = {"work": (0, number), "fail": (f"no {number}",)}
        identity = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        return {"id": identity, "task": task, "args": given.get(task, (number,))}


class Stage:
    """What runs."""

    def __init__(self, valkey: Valkey, pids: Mapping[str, Sequence[int]], page: CDPSession) -> None:
        self._results = valkey.client(14)
        self._pids = pids
        self._page = page
        self._start = time.monotonic()

    def look(self) -> Sample:
        """How large each is now."""
        # Each task that has ended has a result there; the journal's keys are beside it, and few.
        sample = Sample(int(str(self._results.dbsize())), time.monotonic() - self._start)
        told = metrics(self._page)
        sample.bytes["page"] = int(told["JSHeapUsedSize"])
        for name, pids in self._pids.items():
            sample.bytes[name] = sum(map(anonymous, pids))
        return sample


def anonymous(pid: int) -> int:
    """A process's resident memory that is no file's, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


@contextmanager
def staged(rate: float, history: int, *, watched: bool) -> Iterator[Stage]:
    with ExitStack() as stack:
        valkey = stack.enter_context(valkey_server())
        env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
        env["WATCHER_HISTORY"] = str(history)
        serving = stack.enter_context(relay(APP, env=env))
        plugin = {} if watched else {"WATCHER_ENABLED": "0"}
        working = stack.enter_context(program(*_WORKER, env={**env, **plugin}))
        stack.callback(working.kill)
        playwright = stack.enter_context(sync_playwright())
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=bring(), args=[*sandbox, "--disable-dev-shm-usage"])
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(serving.url)
        page.get_by_text("Connected", exact=True).wait_for()
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        sender = Sender(rate, valkey, {**env, **plugin})
        stack.callback(sender.stop)
        sender.start()
        workers = wait_for(lambda: _whole(family([working.pid])), what="the worker's processes")
        pids = {"relay": [serving.pid], "worker": workers, "worker's main process": [working.pid]}
        pids |= {"sender": [sender.process.pid], "Valkey, with all results": [valkey.pid]}
        yield Stage(valkey, pids, session)


def _whole(workers: list[int]) -> list[int]:
    return workers if len(workers) == 1 + _PROCESSES else []


def soak(stage: Stage, seconds: float, full: int, output: Path | None) -> list[Sample]:
    """Look again and again for so long; returns what was seen since everything was full.

    :param full: after so many tasks.
    """
    seen: list[Sample] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(seconds / _LOOKS)
        sample = stage.look()
        if output is not None:
            with output.open("a") as file:
                file.write(json.dumps(vars(sample)) + "\n")
        if sample.tasks >= full:
            seen.append(sample)
    return seen


def growth(samples: Sequence[Sample], name: str) -> float:
    """Bytes by which it grows in so many tasks: the slope of the line through all samples (least squares)."""
    tasks = [float(each.tasks) for each in samples]
    values = [float(each.bytes[name]) for each in samples]
    mid, level = sum(tasks) / len(tasks), sum(values) / len(values)
    spread = sum((each - mid) ** 2 for each in tasks)
    return PER * sum((x - mid) * (y - level) for x, y in zip(tasks, values, strict=True)) / spread


def tell(samples: Sequence[Sample]) -> int:
    """Print the table; returns the exit code."""
    first, last = samples[0], samples[-1]
    count, seconds = last.tasks - first.tasks, last.seconds - first.seconds
    print(f"{count:,} tasks in {seconds:.0f} s, {count / seconds:.0f} a second")
    print(f"{'MiB':26}{'full':>8}{'end':>8}{f'per {PER:,} tasks':>22}")
    too_much = False
    for name in last.bytes:
        grown = growth(samples, name)
        wrong = name in HELD and grown > BOUND
        too_much = too_much or wrong
        figures = f"{first.bytes[name] / MIB:8.1f}{last.bytes[name] / MIB:8.1f}{grown / MIB:+22.2f}"
        print(f"{name:26}{figures}{'  too much' if wrong else ''}")
    return 1 if too_much else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or 1800))
    parser.add_argument("--rate", type=float, default=200, help="tasks a second")
    parser.add_argument("--history", type=int, default=5_000, help="events that the journal keeps")
    parser.add_argument("--full", type=int, default=FULL, help="from how many tasks on nothing may grow")
    parser.add_argument("--unwatched", action="store_true", help="the worker and the sender without the plugin")
    parser.add_argument("--output", type=Path, help="a line of JSON each look")
    options = parser.parse_args()
    with staged(options.rate, options.history, watched=not options.unwatched) as stage:
        samples = soak(stage, options.seconds, options.full, options.output)
    if len(samples) < 2:
        print(f"only so much could be seen of what is to be seen after {options.full:,} tasks: let it run for longer")
        return 2
    return tell(samples)


if __name__ == "__main__":
    sys.exit(main())

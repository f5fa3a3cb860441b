"""The page under 1,000 events a second, in a real Chromium: `python -m bench.page`, 90 seconds.

A Valkey, a relay, and a writer that appends what workers would (tasks of five events each, in batches every 20 ms) run
beside it, so on a small machine they share its cores. Before the clock starts the page is given more tasks than it
keeps, so that what is measured is its steady state, evictions included.

It prints one line of JSON: the share of time in which the main thread was busy (CDP, TaskDuration), its longest task
(from a trace) and each of more than 50 ms (Long Tasks API), and the heap after a collection at the start and at the
end. These are times on the wall, which others on the machine make longer: `busy_cpu`, `cpu_of_long_tasks_ms` and
`longest_cpu_ms` say what the page itself took. What the long frames were spent on goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from msgspec import Raw
from playwright.sync_api import Browser, CDPSession, sync_playwright

from tests.support.chromium import bring
from tests.support.events import record
from tests.support.processes import relay
from tests.support.valkey import Valkey, valkey_server
from watcher.core.event import Event
from watcher.journal.layout import BATCH_EVENTS, Journal
from watcher.journal.scripts import APPEND

#: Events of half as many tasks again as the page keeps (web/model/state.js).
_FILL = 75_000
_BATCH_SECONDS = 0.02
_IN_FLIGHT = 40
#: What Chromium's trace calls a task, and how long a long one is, in milliseconds (W3C, Long Tasks API).
_TASK = "ThreadControllerImpl::RunTask"
_LONG = 50
#: Of the longest frames so many are told of.
_TOLD = 8
_NAMES = ("shop.tasks.send_invoice", "shop.tasks.resize_picture", "search.index", "tasks.count_primes")

#: Long tasks, and what was done in frames that took long: which scripts, and how much of it was style and layout.
_OBSERVE = """
window.seen = { tasks: [], frames: [] };
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) seen.tasks.push(duration);
}).observe({ type: "longtask" });
new PerformanceObserver((list) => {
  for (const { duration, blockingDuration, startTime, styleAndLayoutStart, scripts } of list.getEntries()) {
    const layout = styleAndLayoutStart && startTime + duration - styleAndLayoutStart;
    const script = scripts.map((each) =>
      `${each.invoker} ${each.sourceFunctionName} ${each.sourceURL.split("/").pop()} ${Math.round(each.duration)}`);
    seen.frames.push({ blocking: Math.round(blockingDuration), layout: Math.round(layout), script });
  }
}).observe({ type: "long-animation-frame" });
"""
_ARGUMENTS: Any = {
    "argsrepr": "(12345, 'a text')",
    "kwargsrepr": "{}",
    "args": Raw(b'[12345,"a text"]'),
    "kwargs": Raw(b"{}"),
}
_META = Raw(b'{"current":40,"total":100,"description":"half way"}')
_RESULT = Raw(b'{"pages":12,"bytes":40960}')
_ERROR = Raw(b'{"type":"ValueError","message":"no such picture","traceback":"Traceback\\n  here\\nValueError"}')


class Writer(threading.Thread):
    """Appends events at a steady rate until it is told to stop."""

    def __init__(self, valkey: Valkey, rate: int) -> None:
        super().__init__(daemon=True)
        self.written = 0
        self._rate = rate
        self._redis = valkey.client()
        self._append = self._redis.register_script(APPEND)
        self._stopping = threading.Event()
        self._random = random.Random(7)
        self._life = self._lives()
        self._batch = 0

    def fill(self, count: int) -> None:
        """Append that many events at once."""
        for _ in range(0, count, BATCH_EVENTS):
            self._send([next(self._life) for _ in range(BATCH_EVENTS)])

    def run(self) -> None:
        start = time.monotonic()
        while not self._stopping.wait(_BATCH_SECONDS):
            due = int((time.monotonic() - start) * self._rate) - self.written
            events = [next(self._life) for _ in range(min(due, BATCH_EVENTS))]
            self._send(events)
            self.written += len(events)

    def stop(self) -> None:
        self._stopping.set()
        if self.ident is not None:
            self.join()
        self._redis.close()

    def _send(self, events: list[Event]) -> None:
        if events:
            self._batch += 1
            keys, arguments = Journal().append("bench", self._batch, [record(event) for event in events])
            self._append(keys, arguments)

    def _event(self, identity: str, state: str, **fields: Any) -> Event:
        common: Any = {"name": _NAMES[ord(identity[0]) % len(_NAMES)], "queue": "celery", "tags": ("user:42",)}
        at = time.time()
        return Event(
            id=identity, state=state, timestamp=at, source="signal", retries=0, root_id=identity, **common, **fields
        )

    def _lives(self) -> Iterator[Event]:
        """Tasks in flight, whose events interleave; one in twenty fails."""
        flight: deque[Iterator[Event]] = deque()
        number = 0
        while True:
            while len(flight) < _IN_FLIGHT:
                number += 1
                flight.append(self._task(f"{self._random.getrandbits(128):032x}", number))
            life = flight.popleft()
            event = next(life, None)
            if event is not None:
                flight.append(life)
                yield event

    def _task(self, identity: str, number: int) -> Iterator[Event]:
        worker = {"hostname": "celery@worker1"}
        yield self._event(identity, "PENDING", **_ARGUMENTS)
        yield self._event(identity, "RECEIVED", **worker, **_ARGUMENTS)
        yield self._event(identity, "STARTED", **worker)
        yield self._event(identity, "PROGRESS", **worker, meta=_META)
        if number % 20:
            yield self._event(identity, "SUCCESS", **worker, runtime=0.25, result=_RESULT)
        else:
            yield self._event(identity, "FAILURE", **worker, runtime=0.25, exception=_ERROR)


def metrics(session: CDPSession) -> dict[str, float]:
    """Chromium's own counters; the heap after a collection."""
    session.send("HeapProfiler.collectGarbage")
    return {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}


def main_thread(trace: bytes) -> list[tuple[float, float]]:
    """Each task of the page's main thread: milliseconds on the wall, and of processor time."""
    events = json.loads(trace)["traceEvents"]
    named = [each for each in events if each.get("name") == "thread_name"]
    renderers = {(each["pid"], each["tid"]) for each in named if each["args"]["name"] == "CrRendererMain"}
    tasks: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for each in events:
        if each.get("name") == _TASK and "dur" in each:
            tasks[each["pid"], each["tid"]].append((each["dur"] / 1000, each.get("tdur", 0) / 1000))
    return max((tasks[thread] for thread in renderers), key=len)  # the page's, not an empty tab's


def measure(browser: Browser, url: str, writer: Writer, seconds: float) -> dict[str, Any]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(_OBSERVE)
    page.goto(url)
    page.get_by_text("Connected", exact=True).wait_for()
    writer.fill(_FILL)
    writer.start()
    page.wait_for_timeout(5_000)  # compiled, and past what was written at once
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    before, began = metrics(session), time.monotonic()
    browser.start_tracing(page=page, categories=["toplevel"])  # without the collection that this was
    page.evaluate("() => { seen.tasks.length = seen.frames.length = 0; }")
    written = writer.written
    page.wait_for_timeout(seconds * 1000)
    seen = page.evaluate("seen")
    elapsed = time.monotonic() - began
    written = writer.written - written
    tasks = main_thread(browser.stop_tracing())
    after = metrics(session)
    print(f"{written / elapsed:.0f} events/s for {elapsed:.0f} s", file=sys.stderr)
    for part in ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration"):
        print(f"{part}: {(after[part] - before[part]) / elapsed:.1%}", file=sys.stderr)
    for frame in sorted(seen["frames"], key=lambda frame: -frame["blocking"])[:_TOLD]:
        print(json.dumps(frame), file=sys.stderr)
    return told(before, after, elapsed, seen["tasks"], tasks)


def told(
    before: dict[str, float],
    after: dict[str, float],
    elapsed: float,
    long_tasks: list[float],
    tasks: list[tuple[float, float]],
) -> dict[str, Any]:
    """The line of the driver: ``figures``, and beside them what tells whether to believe them.

    :param before: the browser's metrics; ``after`` those of ``elapsed`` seconds later.
    :param long_tasks: milliseconds of each of more than 50.
    :param tasks: of all, milliseconds on the wall and of processor time.
    """

    def share(name: str) -> float:
        return round((after[name] - before[name]) / elapsed, 3)

    return {
        "figures": {
            "busy": share("TaskDuration"),
            "longest task ms": max([wall for wall, _ in tasks], default=0.0),
            "heap MB before": before["JSHeapUsedSize"] / 1e6,
            "heap MB after": after["JSHeapUsedSize"] / 1e6,
        },
        "busy_cpu": share("ThreadTime"),
        "long_tasks_ms": sorted(map(round, long_tasks), reverse=True),
        "cpu_of_long_tasks_ms": sorted((round(cpu) for wall, cpu in tasks if wall > _LONG), reverse=True),
        "longest_cpu_ms": round(max([cpu for _, cpu in tasks], default=0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=1000, help="events a second")
    options = parser.parse_args()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with valkey_server() as valkey, sync_playwright() as playwright:
        env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(0)}
        with relay("tasks", env=env) as serving:
            browser = playwright.chromium.launch(executable_path=bring(), args=[*sandbox, "--disable-dev-shm-usage"])
            writer = Writer(valkey, options.rate)
            try:
                print(json.dumps(measure(browser, serving.url, writer, options.seconds)))
            finally:
                writer.stop()
                browser.close()


if __name__ == "__main__":
    main()

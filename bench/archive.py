"""How fast the catalogue is: how much of a processor it takes to write it, and how long questions take.

    python -m bench.archive                                     SQLite, a million tasks
    python -m bench.archive --tasks 100000 --url postgresql://…  less, or elsewhere

Tasks of a made-up shop arrive as portions of a journal, four events each, 5,000 tasks to a second of theirs. Writing is
told in processor time of the thread that writes (``time.thread_time``; what a database server spends is its own), since
what else the machine does must not matter. Questions are timed by the clock while 500 tasks a second come in: load
counts there, so a machine without other work is the one to believe. Beside it stands the processor time of the thread
that asks, which with SQLite is all that the question takes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any, Final

from watcher.catalogue.catalogue import Catalogue, Fenced, Listed
from watcher.catalogue.database import url_of
from watcher.catalogue.store import SqlCatalogue
from watcher.core.filters import parse
from watcher.core.permissions import OPEN, Grant

_RATE: Final = 5_000
_FILTERS: Final = (
    "", "state:failed", "state:waiting", "state:running", "-state:succeeded", "name:shop.task7", "name:shop.task1*",
    "name:none", "queue:q3", "queue:legacy", "worker:w3", "tag:user:42", "error:CardDeclined", "since:2m",
    "since:10m until:5m", "until:15m", "runtime:>5s", "waited:>1m", "root:{id}", "id:{id}",
    "state:failed name:shop.task7 since:20m",
)  # fmt: skip
_TEXTS: Final = ("no money", "task77 since:1d")


class Shop:
    """The journal: line after line, as of a moment for each."""

    def __init__(self, began: float) -> None:
        self._chance = Random(17)
        self._began = began
        self.offset = 0
        self.tasks = 0
        self.some = ""

    def lines(self, rate: float = _RATE) -> Iterator[tuple[int, bytes]]:
        """Four events of each task, and of some tasks fewer."""
        while True:
            number, chance = self.tasks, self._chance
            self.tasks += 1
            at = self._began + number / rate
            identity = f"{chance.getrandbits(64):016x}-{number:012x}"
            self.some = self.some or identity
            common = (
                f'{{"id":"{identity}","source":"signal","name":"shop.task{number % 40}","queue":"q{number % 5}",'
                f'"sent":{at:.6f},"retries":0,"root_id":"{identity}","argsrepr":"({number}, \'a text\')",'
                f'"kwargsrepr":"{{}}","args":[{number},"a text"],"kwargs":{{}},'
                f'"tags":["user:{number % 5000}"]'
            )
            host = f'"hostname":"celery@w{number % 8}","run":"r{number}"'
            ran = chance.expovariate(1)
            ended = f'"timestamp":{at + 0.1 + ran:.6f},"runtime":{ran:.6f},{host}'
            end = f'"state":"SUCCESS","result":{number},{ended}'
            if number % 50 == 0:
                error = '{"type":"shop.errors.CardDeclined","message":"no money on the card"}'
                end = (
                    f'"state":"FAILURE","timestamp":{at + 0.1 + ran:.6f},"runtime":{ran:.6f},"exception":{error},{host}'
                )
            states = [
                f'"state":"PENDING","timestamp":{at:.6f}',
                f'"state":"RECEIVED","timestamp":{at + 0.05:.6f},{host}',
                f'"state":"STARTED","timestamp":{at + 0.1:.6f},{host}',
                end,
            ]
            for state in states[: 1 if number % 10_000 == 7 else 3 if number % 10_000 == 8 else 4]:
                self.offset += 1
                yield self.offset, f"{common},{state}}}".encode()


def ingest(catalogue: Catalogue, lines: Iterator[tuple[int, bytes]], shop: Shop, tasks: int, portion: int) -> float:
    """Write so many tasks; returns the processor time of an event in microseconds."""
    spent, before = 0.0, shop.offset
    while shop.tasks < tasks:
        events = list(islice(lines, portion))
        start = time.thread_time()
        catalogue.apply("bench", events)
        spent += time.thread_time() - start
    return spent / max(1, shop.offset - before) * 1e6


def questions(catalogue: Catalogue, shop: Shop, moment: Callable[[], float]) -> dict[str, Callable[[], Any]]:
    """What is asked, by what it is called."""

    def listed(text: str, grant: Grant = OPEN, sort: Any = "when") -> Callable[[], Any]:
        return lambda: catalogue.list(Listed(parse(text.format(id=shop.some)), sort), grant, moment())

    def hour() -> tuple[float, float]:
        return moment() - 3600, moment()

    asked: dict[str, Callable[[], Any]] = {f"list {text}": listed(text) for text in (*_FILTERS, *_TEXTS)}
    asked |= {f"count {text}": counted(catalogue, text.format(id=shop.some), moment) for text in _FILTERS}
    asked |= {f"list by {sort}": listed("", sort=sort) for sort in ("sent", "runtime", "waited")}
    asked["list of a token for a tag"] = listed("", Grant(watch=("tag:user:42",)))
    asked["list of a token for names"] = listed("", Grant(watch=("name:shop.task3*",)))
    asked["counts by state"] = lambda: catalogue.counts(parse(""), OPEN, ("state",), moment())
    asked["counts by name, state"] = lambda: catalogue.counts(parse(""), OPEN, ("name", "state"), moment())
    asked["series of an hour"] = lambda: catalogue.series(parse(""), OPEN, hour(), 60, moment())
    asked["series of an hour, a name"] = lambda: catalogue.series(parse("name:shop.task7"), OPEN, hour(), 60, moment())
    asked["series of five minutes"] = lambda: catalogue.series(
        parse(""), OPEN, (moment() - 300, moment()), 60, moment()
    )
    asked["names of an hour"] = lambda: catalogue.names(parse(""), OPEN, hour()[0], moment())
    asked["overview"] = lambda: catalogue.numbers(moment())
    return asked


def counted(catalogue: Catalogue, text: str, moment: Callable[[], float]) -> Callable[[], Any]:
    return lambda: catalogue.counts(parse(text), OPEN, (), moment())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--portion", type=int, default=10_000, help="events of one transaction")
    parser.add_argument("--rounds", type=int, default=20, help="how often each question is asked")
    parser.add_argument("--url", help="an empty database; default: SQLite in a temporary file")
    parser.add_argument("--match", default="", help="only questions whose names have this in them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = url_of(options.url or f"sqlite:///{folder}/archive.db")
        catalogue = SqlCatalogue(url)
        # The tasks end now, as 500 a second would have come in until then.
        began = time.time() - options.tasks / 500
        shop = Shop(began)
        if catalogue.position().epoch == "":
            catalogue.begin("bench", 1, [], since=None, now=began)
        shop_lines = shop.lines(500)
        spent = ingest(catalogue, shop_lines, shop, options.tasks, options.portion)
        size = Path(url.database or "").stat().st_size if url.drivername == "sqlite" else 0
        print(f"{spent:.1f} µs of processor an event, {spent * 4:.0f} a task; {size / shop.tasks:.0f} bytes a task")
        report(catalogue, shop, shop_lines, options.rounds, options.match)
        catalogue.close()


def report(catalogue: Catalogue, shop: Shop, lines: Iterator[tuple[int, bytes]], rounds: int, match: str) -> None:
    """Ask everything so often while more comes in, and print how long it took."""
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.5):
            try:
                catalogue.apply("bench", list(islice(lines, 1000)))
            except Fenced:
                return

    writer = threading.Thread(target=write)
    writer.start()
    print("by the clock p50, p95; by the processor p50, p95, in ms")
    try:
        for name, ask in questions(catalogue, shop, time.time).items():
            if match not in name:
                continue
            taken, spent = list[float](), list[float]()
            for _ in range(rounds):
                start, used = time.perf_counter(), time.thread_time()
                ask()
                taken.append((time.perf_counter() - start) * 1000)
                spent.append((time.thread_time() - used) * 1000)
            cuts = quantiles(taken, n=20, method="inclusive")
            processor = quantiles(spent, n=20, method="inclusive")
            print(f"{cuts[9]:8.1f} {cuts[18]:8.1f}   {processor[9]:8.1f} {processor[18]:8.1f}  {name}", flush=True)
    finally:
        ended.set()
        writer.join()


if __name__ == "__main__":
    main()

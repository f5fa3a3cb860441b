"""A run of the suite, in parts: of each its process, its Valkey, a relay where it is watched, and what is left."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.celery_suite.building import environment_python, suite
from tests.celery_suite.judging import Outcome, outcomes
from tests.support.events import stored as told
from tests.support.processes import ROOT, environment, relay
from tests.support.valkey import Valkey, valkey_server
from watcher.core.event import Event
from watcher.journal.layout import Journal

__all__ = ["Broken", "Part", "Run", "at_once"]

#: Some tests look for keys of the results in database 0.
BROKER, RESULTS, JOURNAL = 15, 0, 13
#: The whole of a run is kept: some ten thousand events.
HISTORY = {"WATCHER_HISTORY": "1000000", "WATCHER_HISTORY_BYTES": str(1 << 30)}
#: The safety net tells of what was stored 3 s ago, and goes through the unfinished tasks every 2 s.
NET_SECONDS = 12.0
PREFIX = b"celery-task-meta-"
#: pytest's exit codes for tests that were run, and passed or failed; and where there was none to be run.
RAN, NONE = (0, 1), 5


class Broken(Exception):
    """The suite's process didn't get as far as its tests; the message is what it said at last."""


@dataclass(frozen=True)
class Part:
    """What some of the suite's tests have left.

    :param events: of the whole journal, each with its offset; none where it wasn't watched.
    :param stored: id → what the result backend keeps, decoded.
    """

    tests: dict[str, Outcome]
    seconds: float
    events: list[tuple[int, Event]]
    stored: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """What one run of the suite has left, part by part."""

    parts: Sequence[Part]

    @property
    def tests(self) -> dict[str, Outcome]:
        """How each test ended."""
        return {name: outcome for part in self.parts for name, outcome in part.tests.items()}


def at_once(ways: Sequence[str], arguments: Sequence[str], parts: int) -> dict[str, Run]:
    """Run these tests in each of these ways, at the same time: most of the time they wait.

    :param ways: "watched" is with the plugin, and a relay beside it.
    :param arguments: of pytest, in the sdist's directory.
    :param parts: how many processes share the tests, each with servers of its own.
    :raises Broken: there was no test that could be run.
    """
    with ThreadPoolExecutor(len(ways) * parts) as threads:
        begun = {
            way: [threads.submit(_run, arguments, f"{part}/{parts}", way == "watched") for part in range(parts)]
            for way in ways
        }
    return {way: Run([each.result() for each in futures]) for way, futures in begun.items()}


def _run(arguments: Sequence[str], part: str, watched: bool) -> Part:
    with valkey_server() as valkey, tempfile.TemporaryDirectory() as directory:
        notes, said = Path(directory, "notes"), Path(directory, "said")
        broker = {"CELERY_BROKER_URL": valkey.url(BROKER), "CELERY_RESULT_BACKEND": valkey.url(RESULTS)}
        journal = {"WATCHER_REDIS_URL": valkey.url(JOURNAL), **HISTORY}
        with relay("tasks", env={**broker, **journal}) if watched else nullcontext():
            begun = time.monotonic()
            env = {
                **(journal if watched else {}),
                "SUITE_NOTES": str(notes), "SUITE_PART": part, "SUITE_WATCHED": "1" if watched else "0",
                "WORKER_LOGLEVEL": "INFO",  # as in Celery's own tox.ini: some tests look at the log
                "TEST_BROKER": valkey.url(BROKER), "TEST_BACKEND": valkey.url(RESULTS),
                "REDIS_HOST": valkey.host, "REDIS_PORT": str(valkey.port), "PYTHONPATH": str(ROOT),
            }  # fmt: skip
            command = [environment_python(), "-m", "pytest", "-p", "celery.contrib.pytest"]
            command += ["-p", "tests.celery_suite.plugin", "-p", "no:cacheprovider", "-q", *arguments]
            with said.open("wb") as output:
                done = subprocess.run(
                    command, cwd=suite(), env=environment(env), stdout=output, stderr=output, check=False
                )
            if done.returncode == NONE and "/1" not in part:
                return Part({}, 0.0, [], {})  # there are fewer tests than parts
            if done.returncode not in RAN or not notes.exists():
                raise Broken(said.read_text(errors="replace")[-2000:])
            seconds = time.monotonic() - begun
            if watched:
                time.sleep(NET_SECONDS)
        tests = outcomes(json.loads(line) for line in notes.read_text().splitlines())
        return Part(tests, seconds, _events(valkey) if watched else [], _stored(valkey))


def _events(valkey: Valkey) -> list[tuple[int, Event]]:
    with valkey.client(JOURNAL) as redis:
        events = told(redis.xrange(Journal(database=JOURNAL).stream))
    assert not events or events[0][0] == 1, "the journal doesn't hold the whole run"
    return events


def _stored(valkey: Valkey) -> dict[str, dict[str, Any]]:
    with valkey.client(RESULTS) as redis:
        keys = list(redis.scan_iter(PREFIX + b"*", count=1000))
        payloads: Any = redis.mget(keys) if keys else []
    pairs = zip(keys, payloads, strict=True)
    return {key.removeprefix(PREFIX).decode(): json.loads(payload) for key, payload in pairs if payload}

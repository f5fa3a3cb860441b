"""What is loaded into the process of Celery's suite (`pytest -p`): it notes down how each test ends.

It runs in the suite's environment, so it imports nothing of the tests here. With SUITE_WATCHED=1 the plugin is
installed too, when `-I watcher.worker` would: Celery's worker for tests, a thread of this process, is no `celery
worker`, and sends no `worker_init`. What it sends instead, `test_worker_starting`, comes at the same moment.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

_NOTES = Path(os.environ["SUITE_NOTES"])


def pytest_configure() -> None:
    """Before anything of Celery is imported by the tests."""
    if os.environ.get("SUITE_WATCHED") == "1":
        from celery.contrib.testing.worker import test_worker_starting
        from celery.signals import celeryd_after_setup

        import watcher.worker

        def install(sender: Any, **_: Any) -> None:
            watcher.worker.install(sender)
            # Only `celery worker` sends it. Without it there are no signs of life, and relays take the worker for one
            # without the plugin, whose ends the safety net tells after 0.2 s.
            celeryd_after_setup.send(sender=None, instance=None, conf=sender.conf)

        test_worker_starting.connect(install, weak=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes that share the suite each takes every so-manieth test."""
    part, parts = map(int, os.environ.get("SUITE_PART", "0/1").split("/"))
    items[:] = items[part::parts]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One phase of one test has come to its end."""
    expected_to_fail = hasattr(report, "wasxfail")
    note = {
        "test": report.nodeid, "when": report.when, "outcome": report.outcome, "xfail": expected_to_fail,
        "start": report.start, "stop": time.time(), "why": _why(report),
    }  # fmt: skip
    with _NOTES.open("a") as file:
        file.write(json.dumps(note) + "\n")


def _why(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message)[:400] if crash is not None else ""

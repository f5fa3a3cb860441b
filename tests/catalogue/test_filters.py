"""The filter language in SQL: what is listed and counted is what Python's own test lets pass."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.catalogue.conftest import Open
from tests.core.filters.plainly import Term, terms
from tests.support.filters import NOW, lives
from watcher.catalogue.catalogue import Listed
from watcher.core.event import Task, encode, fold
from watcher.core.filters import parse
from watcher.core.permissions import OPEN

Asked = Callable[[str], tuple[list[str], list[str]]]


@pytest.fixture
def asked(opened: Open) -> Asked:
    """The ids that a filter lets pass: those that the catalogue lists, and those that it should."""
    events = lives(Random(17), 300)
    tasks: dict[str, Task] = {}
    for offset, event in enumerate(events, 1):
        tasks[event.id] = fold(tasks.get(event.id), event, offset)
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    catalogue.apply("1", [(offset, encode(event)) for offset, event in enumerate(events, 1)])
    newest_first = sorted(tasks.values(), key=lambda task: -task.offset)

    def ask(text: str) -> tuple[list[str], list[str]]:
        chosen = parse(text)
        page = catalogue.list(Listed(chosen, limit=1000), OPEN, NOW)
        listed = [msgspec.json.decode(task, type=Task).id for task in page.tasks]
        assert catalogue.counts(chosen, OPEN, (), NOW).total == len(listed)
        return listed, [task.id for task in newest_first if chosen.matches(task, NOW)]

    return ask


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(meant=terms())
def test_the_database_lists_and_counts_what_passes(asked: Asked, meant: list[Term]) -> None:
    listed, passing = asked(" ".join(term.text for term in meant))
    assert listed == passing

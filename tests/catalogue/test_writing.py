"""What is written is written once: by writers that are killed, by two at a time, and after much was forgotten."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import msgspec
import pytest
from sqlalchemy import URL

from tests.catalogue.conftest import Open
from tests.support.events import event
from tests.support.processes import ROOT, environment
from tests.support.shops import Folded, history
from tests.support.waiting import wait_for
from watcher.catalogue.catalogue import Catalogue, Fenced, Listed, Removed, Unusable
from watcher.catalogue.database import Database, url_of
from watcher.catalogue.store import SqlCatalogue
from watcher.core.event import Task, decode, encode
from watcher.core.filters import EVERYTHING, parse
from watcher.core.permissions import OPEN

NOW = 1_004_000.0
#: Writes lines from where the catalogue is, a few at a time.
WRITER = """
import sys
from pathlib import Path
from watcher.catalogue.database import url_of
from watcher.catalogue.store import SqlCatalogue

lines = Path(sys.argv[2]).read_bytes().split(b"\\n")
catalogue = SqlCatalogue(url_of(sys.argv[1]))
while (offset := catalogue.position().offset) < len(lines):
    catalogue.apply("1", list(enumerate(lines[offset : offset + 20], offset + 1)))
"""


def holds(catalogue: Catalogue, tasks: list[Task]) -> None:
    """Whether a catalogue has these tasks, newest first, and counts them."""
    page = catalogue.list(Listed(EVERYTHING, limit=1000), OPEN, NOW)
    assert [msgspec.json.decode(task, type=Task) for task in page.tasks] == tasks
    for by in (("state", "name"), ("queue", "worker"), ("error",)):
        counts = catalogue.counts(EVERYTHING, OPEN, by, NOW).counts
        assert {tuple(getattr(each, key) for key in by): each.count for each in counts} == Folded.counted(tasks, by)
    names = {each.name: each.count for each in catalogue.names(EVERYTHING, OPEN, None, NOW)}
    assert names == {name: count for (name,), count in Folded.counted(tasks, ("name",)).items()}
    series = catalogue.series(EVERYTHING, OPEN, (900_000.0, 1_100_000.0), 100, NOW)
    ended = sum(each.succeeded + each.failed + each.other for each in series.buckets)
    assert ended == sum(task.final for task in tasks)


def _is_beyond(catalogue: Catalogue, offset: int) -> bool:
    return catalogue.position().offset > offset


def test_a_writer_that_is_killed_again_and_again_writes_everything_once(opened: Open, url: str, tmp_path: Path) -> None:
    lines = history(Random(5), 60)
    (tmp_path / "lines").write_bytes(b"\n".join(lines))
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    kills, at = 0, 0
    while at < len(lines):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(tmp_path / "lines")], cwd=ROOT, env=environment()
        )
        wait_for(partial(_is_beyond, catalogue, at), what="the writer to write")
        if kills < 3:
            writer.kill()
            kills += 1
        assert writer.wait(60) in (0, -9)
        at = catalogue.position().offset
    assert kills == 3
    holds(opened(), Folded(list(enumerate(map(decode, lines), 1))).wanted(EVERYTHING, OPEN, NOW))


def test_of_two_writers_one_wins(opened: Open) -> None:
    lines = list(enumerate(history(Random(6), 20), 1))
    one, other = opened(), opened()
    one.begin("1", 1, [], since=None, now=NOW)
    other.apply("1", lines[:10])
    with pytest.raises(Fenced):
        one.apply("1", lines[:20])
    assert one.position().offset == 10
    one.apply("1", lines[:20])
    with pytest.raises(Fenced):
        other.retain(NOW)
    with pytest.raises(Fenced, match="of the journal '1', not of '2'"):
        other.apply("2", lines)
    other.apply("1", lines)
    holds(one, Folded([(offset, decode(line)) for offset, line in lines]).wanted(EVERYTHING, OPEN, NOW))


def test_what_is_old_and_has_ended_is_forgotten_and_counted_no_more(opened: Open) -> None:
    lines = history(Random(8), 80)
    tasks = Folded(list(enumerate(map(decode, lines), 1))).wanted(EVERYTHING, OPEN, NOW)
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    catalogue.apply("1", list(enumerate(lines, 1)))
    limit = sorted(task.timestamp for task in tasks)[50]

    old = [task for task in tasks if task.final and task.timestamp < limit]
    assert 10 < len(old) < 50
    forgotten: list[int] = []
    while not forgotten or forgotten[-1] == 7:
        forgotten.append(catalogue.retain(limit, 7))
    assert sum(forgotten) == len(old)
    holds(catalogue, [task for task in tasks if task not in old])
    assert catalogue.reach().since == limit
    assert catalogue.get(old[0].id, OPEN) is None
    for task in old:
        assert not catalogue.counts(parse(f"id:{task.id}"), OPEN, (), NOW).total


def test_another_journal_goes_on_behind_the_first(opened: Open) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    first = [encode(event(f"a{number}", "STARTED", 10.0 + number, name="n")) for number in range(5)]
    catalogue.apply("1", list(enumerate(first, 1)))
    catalogue.begin("2", 3, [(1, encode(event("a0", "STARTED", 10.0)))], since=30.0, now=NOW)
    catalogue.apply("2", [(3, encode(event("a4", "SUCCESS", 40.0))), (4, encode(event("b", "PENDING", 41.0)))])

    page = catalogue.list(Listed(EVERYTHING, limit=2), OPEN, NOW)
    shown = [msgspec.json.decode(task, type=Task) for task in page.tasks]
    assert [(task.id, task.state, task.offset) for task in shown] == [("b", "PENDING", 4), ("a4", "SUCCESS", 3)]
    rest = catalogue.list(Listed(EVERYTHING, before=page.next), OPEN, NOW)
    shown = [msgspec.json.decode(task, type=Task) for task in rest.tasks]
    assert [(task.id, task.offset) for task in shown] == [("a0", 1), ("a3", 0), ("a2", 0), ("a1", 0)]
    (gap,) = catalogue.reach().gaps
    assert (gap.since, gap.until, gap.events) == (14.0, 30.0, 2)
    assert catalogue.get("a3", OPEN) == rest.tasks[1]


@pytest.mark.parametrize(
    ("lost", "first", "events"), [(None, 1, None), (0, 1, None), (7, 1, 7), (7, 3, 9), (None, 3, 2)]
)
def test_a_gap_tells_how_many_events_are_known_to_be_missing(
    opened: Open, lost: int | None, first: int, events: int | None
) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    catalogue.apply("1", [(1, encode(event("a", "PENDING", 10.0)))])
    catalogue.begin("2", first, [], since=None, now=NOW, lost=lost)
    (gap,) = catalogue.reach().gaps
    assert (gap.since, gap.until, gap.events) == (10.0, NOW, events)


def test_a_catalogue_that_had_nothing_when_its_journal_was_lost_is_whole_since_then(opened: Open) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    catalogue.begin("2", 1, [], since=None, now=NOW + 1, lost=3)
    assert (catalogue.reach().since, catalogue.reach().gaps) == (NOW + 1, [])
    catalogue.begin("2", 5, [], since=NOW + 2, now=NOW + 9)
    assert (catalogue.reach().since, catalogue.reach().gaps) == (NOW + 2, [])


def test_a_file_that_is_gone_is_not_made_by_who_reads(tmp_path: Path) -> None:
    path = tmp_path / "a catalogue?.db"
    catalogue = SqlCatalogue(URL.create("sqlite", database=str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    catalogue.begin("1", 1, [], since=None, now=NOW)
    catalogue.apply("1", [(1, encode(event("a", "PENDING", 1.0)))])
    path.rename(tmp_path / "elsewhere")
    asked: list[Callable[[], object]] = [
        catalogue.position, catalogue.check, partial(catalogue.apply, "1", [], 2), partial(catalogue.retain, NOW),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(Removed):
            ask()
        assert not path.exists()
    path.touch()
    with pytest.raises(Removed):
        catalogue.check()
    catalogue.close()


def test_a_form_of_another_version_is_refused(opened: Open, url: str) -> None:
    opened()
    database = Database(url_of(url))
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE watcher_catalogue SET version = 99")
    with pytest.raises(Unusable, match=r"has form 99, which is newer than this program's \(1\); name another database"):
        opened()
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE watcher_catalogue SET version = 1")
    with pytest.raises(Unusable, match="holds the tasks of namespace 'watcher', not of 'another'"):
        SqlCatalogue(url_of(url), "another")
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE watcher_catalogue")
    with pytest.raises(Unusable, match="has a table watcher_details, but is no catalogue"):
        opened()
    database.close()


def test_what_postgresql_can_not_store_is_stored(opened: Open) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    odd = event("a\0b", "PENDING", 1.0, name="n\0", tags=("\0", "\ud7ff", "x" * 5000), queue="")
    catalogue.apply("1", [(1, encode(odd)), (2, b"no event"), (3, encode(event("next", "PENDING", 2.0)))])
    page = catalogue.list(Listed(EVERYTHING), OPEN, NOW)
    assert [msgspec.json.decode(task)["id"] for task in page.tasks] == ["next", "a\0b"]
    assert catalogue.get("a\0b", OPEN) == page.tasks[1]

"""What a database can't hold is stored all the same, or left out by itself: it stops nothing else."""

from __future__ import annotations

import msgspec

from tests.catalogue.conftest import Open
from tests.support.events import event
from watcher.catalogue.catalogue import Listed
from watcher.catalogue.store import SqlCatalogue
from watcher.catalogue.texts import readable, storable
from watcher.core.event import encode
from watcher.core.filters import EVERYTHING, parse
from watcher.core.permissions import OPEN, Grant

NOW = 1_004_000.0
#: Ids that any mapping of characters to one other would take for the same.
ODD = ["nul\0x", "nul\ufffdx", "nul\ufdd0x", "nul\ufdd1x", "nul\ufdd1\ufde0\ufde0\ufde0\ufde0x", "nulx"]


def ids(catalogue: SqlCatalogue, text: str = "", grant: Grant = OPEN) -> list[str]:
    page = catalogue.list(Listed(parse(text)), grant, NOW)
    return [msgspec.json.decode(task)["id"] for task in page.tasks]


def test_every_text_is_stored_as_another_one_and_read_back() -> None:
    every = [*ODD, "", "plain", "\ud800", "\udfff", "\ud800\ufde0", "\ufdd1", "\ufdef", "a\ufdd0\0", "\U0010ffff"]
    stored = [storable(text) for text in every]
    assert [readable(text) for text in stored] == every
    assert len(set(stored)) == len(every)
    for text in stored:
        assert "\0" not in text
        text.encode()


def test_tasks_whose_ids_differ_in_what_is_not_storable_are_two(opened: Open) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    for offset, identity in enumerate(ODD, 1):  # one by one, as they come
        of = {"name": f"n{identity}", "queue": identity, "tags": (identity,), "root_id": f"r{identity}"}
        catalogue.apply("1", [(offset, encode(event(identity, "PENDING", float(offset), **of)))])
    again = opened()
    again.apply("1", [(7, encode(event("nul\0x", "SUCCESS", 8.0)))])

    assert sorted(ids(again)) == sorted(ODD)
    assert list(again.unfinished("", 10)) == sorted(set(ODD) - {"nul\0x"}, key=storable)
    shown = again.several(ODD)
    for identity, told in zip(ODD, shown, strict=True):
        assert told is not None
        assert msgspec.json.decode(told)["id"] == identity
        assert again.get(identity, OPEN) == told
        if "\0" not in identity:  # which is in no filter
            for text in (f'id:"{identity}"', f'queue:"{identity}"', f'tag:"{identity}"', f'name:"n{identity}"'):
                assert ids(again, text) == [identity]
            assert ids(again, f'root:"r{identity}"') == ids(again, f'"n{identity}"') == [identity]
        assert ids(again, grant=Grant(watch=(f"task:{identity}",))) == [identity]
    assert set(ids(again, "id:nul*")) == set(ODD)
    counts = again.counts(EVERYTHING, OPEN, ("queue", "name"), NOW).counts
    assert {(each.queue, each.name) for each in counts} == {(each, f"n{each}") for each in ODD}
    assert {each.queue for each in again.counts(parse("id:nul*"), OPEN, ("queue",), NOW).counts} == set(ODD)
    assert {each.name for each in again.names(EVERYTHING, OPEN, None, NOW)} == {f"n{each}" for each in ODD}
    assert again.get("\ud800", OPEN) is None
    assert ids(again, "id:\ufdd1") == []


def test_a_task_that_a_database_refuses_is_left_out_by_itself(opened: Open) -> None:
    catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    lines = [encode(event(f"t{number}", "PENDING", float(number + 1), name="n")) for number in range(40)]
    refuse(catalogue, "t7", "t31")
    catalogue.apply("1", list(enumerate(lines, 1)))
    catalogue.apply("1", [(41, encode(event("t8", "SUCCESS", 50.0)))])

    assert catalogue.position() == ("1", 41)
    assert sorted(ids(catalogue)) == sorted({f"t{number}" for number in range(40)} - {"t7", "t31"})
    assert catalogue.counts(EVERYTHING, OPEN, (), NOW).total == 38
    assert catalogue.skipped == 2
    catalogue.begin("2", 3, [(1, lines[7]), (2, lines[3])], since=60.0, now=NOW)
    assert catalogue.skipped == 3
    assert len(ids(catalogue)) == 38


def refuse(catalogue: SqlCatalogue, *identities: str) -> None:
    """Have the database refuse some tasks."""
    with catalogue._database.writing() as connection:
        if catalogue._database.sqlite:
            for identity in identities:
                connection.exec_driver_sql(
                    f"CREATE TRIGGER no_{identity} BEFORE INSERT ON watcher_tasks WHEN new.id = '{identity}' "
                    "BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )
        else:
            names = ", ".join(f"'{identity}'" for identity in identities)
            connection.exec_driver_sql(f"ALTER TABLE watcher_tasks ADD CHECK (id NOT IN ({names}))")

"""Whatever comes in whatever portions, the catalogue says what a plain fold and a plain loop say."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from tests.catalogue.conftest import Open
from tests.support.shops import Folded, ended, history, quantile
from watcher.catalogue.catalogue import Catalogue, Listed, Sort
from watcher.core.event import Task, decode
from watcher.core.figures import CountBy
from watcher.core.filters import parse
from watcher.core.kinds import runtime_of, waited_of
from watcher.core.permissions import OPEN, Grant

NOW = 1_004_000.0
FILTERS = (
    "", "state:failed", "state:waiting", "state:queued", "state:scheduled", "state:retrying", "state:running",
    "state:lost", "state:other", "state:SUCCESS state:failed", "-state:succeeded", "name:mail.send", "name:mail.*",
    "-name:mail.*", "name:*ger", "queue:legacy", "queue:legacy state:failed", "-queue:legacy", "worker:web2",
    "worker:celery@*", "-worker:web2", "tag:user:42", "tag:user:* -tag:vip", 'tag:"a%b"', "error:CardDeclined",
    "error:*Error", "-error:CardDeclined", "root:task-0", "root:task-*", "-root:task-0", "parent:task-0",
    "-parent:task-0", "group:g1", "id:task-3", "id:*-1*", "runtime:>1s", "runtime:<=250ms", "runtime:>=0s",
    "-runtime:>1s", "waited:>10s", "waited:<1s", "-waited:<1s", "since:50m", "until:20m", "since:50m until:30m",
    "strasse", "straße", "MONEY", '-"user:4"', "ärger", "a_b=50", "a%b", "since:50m name:mail.* state:failed",
)  # fmt: skip
BY: list[tuple[CountBy, ...]] = [(), ("state",), ("kind", "name"), ("queue", "worker"), ("error",), ("kind",)]
GRANTS = (
    OPEN, Grant(), Grant(watch=("name:mail.*",)), Grant(watch=("tag:user:42", "task:task-3")),
    Grant(watch=("*:task-[0-2]", "group:?1")), Grant(watch=("[nt]a*:*[!d]",)),
)  # fmt: skip


def listed(catalogue: Catalogue, wanted: Listed, grant: Grant = OPEN) -> list[Task]:
    """All tasks, page by page."""
    found: list[Task] = []
    while True:
        page = catalogue.list(wanted, grant, NOW)
        assert len(page.tasks) <= wanted.limit
        found += [msgspec.json.decode(task, type=Task) for task in page.tasks]
        if page.next is None:
            return found
        wanted = wanted._replace(before=page.next)


def filled(opened: Open, chance: Random, lines: list[bytes]) -> Catalogue:
    """A catalogue that has been handed the lines in portions, some twice, and been opened again on the way."""
    catalogue: Catalogue = opened()
    catalogue.begin("1", 1, [], since=None, now=NOW)
    while (offset := catalogue.position().offset) < len(lines):
        first = max(1, offset + 1 - chance.choice((0, 0, 3)))
        last = min(len(lines), offset + chance.choice((7, 40, 300)))
        catalogue.apply("1", [(at, lines[at - 1]) for at in range(first, last + 1)])
        if chance.random() < 0.2:
            catalogue = opened()
    return catalogue


@pytest.mark.parametrize("seed", range(2))
def test_says_what_a_plain_fold_says(opened: Open, seed: int) -> None:
    chance = Random(seed)
    lines = history(chance, 100)
    catalogue = filled(opened, chance, lines)
    truth = Folded(list(enumerate(map(decode, lines), 1)))

    for text in chance.sample(FILTERS, 30):
        chosen = parse(text)
        for grant in (OPEN, chance.choice(GRANTS)):
            wanted = truth.wanted(chosen, grant, NOW)
            found = listed(catalogue, Listed(chosen, limit=chance.choice((7, 1000))), grant)
            assert found == wanted, (text, grant)
            for by in chance.sample(BY, 2):
                counts = catalogue.counts(chosen, grant, by, NOW)
                told = {tuple(getattr(each, name) for name in by): each.count for each in counts.counts}
                assert counts.total == len(wanted), (text, grant)
                assert told == (truth.counted(wanted, by) if by else {}), (text, grant, by)


@pytest.mark.parametrize("text", ["", "name:mail.*", "queue:legacy"])
def test_tells_when_it_happened_and_how_long_it_took(opened: Open, text: str) -> None:
    chance = Random(7)
    lines = history(chance, 200)
    catalogue = filled(opened, chance, lines)
    wanted = Folded(list(enumerate(map(decode, lines), 1))).wanted(parse(text), OPEN, NOW)

    for span in ((1_000_000.0, 1_004_000.0), (1_001_000.0, 1_001_300.0)):
        series = catalogue.series(parse(text), OPEN, span, 20, NOW)
        assert 0 < len(series.buckets) <= 20
        for bucket in series.buckets:
            until = bucket.at + series.step
            assert bucket.sent == sum(bucket.at <= first_heard(task) < until for task in wanted)
            counted = ended(wanted, bucket.at, until)
            told = {"succeeded": bucket.succeeded, "failed": bucket.failed, "other": bucket.other}
            assert told == {kind: counted[kind] for kind in told}
            mine = [task for task in wanted if bucket.at <= task.timestamp < until]
            median = quantile(mine, 0.5)
            assert (bucket.runtime is None) == (median is None)
            assert bucket.runtime is None or bucket.runtime.p50 == pytest.approx(median, rel=0.05, abs=1e-4)

    for since in (None, 1_001_040.0):
        found = {each.name: each for each in catalogue.names(parse(text), OPEN, since, NOW)}
        recent = [task for task in wanted if since is None or task.timestamp >= since]
        assert {name: each.count for name, each in found.items()} == {
            name: count for (name,), count in Folded.counted(recent, ("name",)).items()
        }
        for name, each in found.items():
            mine = [task for task in recent if task.name == name]
            assert each.failed == sum(task.state == "FAILURE" for task in mine)
            slow = quantile(mine, 0.95)
            assert (each.runtime is None) == (slow is None)
            assert each.runtime is None or each.runtime.p95 == pytest.approx(slow, rel=0.05, abs=1e-4)


def first_heard(task: Task) -> float:
    """When it was sent, as far as anybody says."""
    return task.sent or task.times.get("PENDING") or min(task.times.values())


@pytest.mark.parametrize("sort", ["sent", "runtime", "waited"])
def test_is_listed_in_another_order(opened: Open, sort: Sort) -> None:
    chance = Random(3)
    lines = history(chance, 100)
    catalogue = filled(opened, chance, lines)

    whole = listed(catalogue, Listed(parse(""), sort, 1000))
    assert whole == listed(catalogue, Listed(parse(""), sort, 7))
    values = [_sorted_by(task, sort) for task in whole]
    assert len(values) > 30
    assert sort != "sent" or len(values) == 100, "no task is left out"
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="before='x': `next` of the page before"):
        catalogue.list(Listed(parse(""), sort, 7, "x"), OPEN, NOW)


def _sorted_by(task: Task, sort: Sort) -> float:
    value = runtime_of(task, NOW) if sort == "runtime" else waited_of(task, NOW)
    if sort == "sent":
        value = first_heard(task)
    assert value is not None
    return value

"""Celery's own integration tests as the measure: `make celery-suite`, a quarter of an hour on two cores.

    make celery-suite                                                test_canvas and test_tasks
    make celery-suite ARGS='t/integration/test_canvas.py -k chord'   some of it: what pytest takes
    make celery-suite ARGS='--only watched'                          one of the two runs

They are taken from the sdist of the version in building.py, which comes from the package index when it is first needed,
with an environment of its own; both are kept below `.venv/celery-suite`. They run twice, with the worker
that they start themselves: once as they are; and once with the plugin installed in their process, which sends the tasks
and is the worker, and a relay beside it, whose safety net is a part of it. Both run at the same time, and several
processes with a Valkey each share the tests, which wait most of the time.

It prints a table, and exits with 1 where something is wrong: a test that ends otherwise (also when it is run again,
alone), a stored result with another state than the journal's last word, a RETRY that was late, an end without root.
The events of each task that something is wrong with go to `.venv/celery-suite/wrong.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from tests.celery_suite.building import CACHE, Unavailable, environment_python, suite
from tests.celery_suite.judging import ALLOWED, DEMANDED, Wrong, differing, wrongs
from tests.celery_suite.running import Broken, Run, at_once
from tests.support.processes import ROOT

TESTS = ("t/integration/test_canvas.py", "t/integration/test_tasks.py")
WAYS = ("without", "watched")
DETAILS = CACHE / "wrong.json"
#: A test that differs is run again so often, alone: some of the suite's own are flaky.
AGAIN = 3
#: So many processes share the tests; the longest of these takes five minutes.
PARTS = 3
#: So many of each kind are printed; the file has all.
SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WAYS, help="one of the two runs")
    parser.add_argument("--parts", type=int, default=PARTS, help="how many processes share the tests")
    given, arguments = parser.parse_known_args()
    if not any(each.startswith("t/") for each in arguments):
        arguments = [*TESTS, *arguments]
    try:
        suite(), environment_python()
        return carry_out([given.only] if given.only else WAYS, arguments, given.parts)
    except (Unavailable, Broken) as reason:
        say(f"celery-suite: {reason}")
        return 2


def carry_out(ways: Sequence[str], arguments: Sequence[str], parts: int) -> int:
    """Run the suite in these ways, tell of it, and return the exit code."""
    runs = at_once(ways, arguments, parts)
    differ = still_differing(runs) if len(runs) > 1 else []
    watched = runs["watched"].parts if "watched" in runs else ()
    found = [each for part in watched for each in wrongs(part.events, part.stored, part.tests)]
    DETAILS.write_text(json.dumps([each._asdict() for each in found], indent=1))
    tell(runs, differ, found)
    return 1 if differ or any(each.what in DEMANDED for each in found) else 0


def still_differing(runs: Mapping[str, Run]) -> list[str]:
    """The tests that end otherwise with the plugin each time that they are run."""
    differ = differing(runs["without"].tests, runs["watched"].tests)
    for attempt in range(AGAIN if differ else 0):
        for test in differ:
            say(f"differs ({attempt + 1}): {test}: " + ", ".join(f"{w} {_state(runs[w], test)}" for w in WAYS))
        runs = at_once(WAYS, differ, 1)
        differ = differing(runs["without"].tests, runs["watched"].tests)
        if not differ:
            break
    return differ


def tell(runs: Mapping[str, Run], differ: Sequence[str], found: Sequence[Wrong]) -> None:
    """Print the table, and below it what is wrong."""
    tests = dict.fromkeys(test for made in runs.values() for test in made.tests)
    for test in tests:
        if any(_state(made, test) in ("failed", "not run") for made in runs.values()):
            told = ", ".join(f"{way} {_state(made, test)}" for way, made in runs.items())
            say(f"{test}: {told}", *{made.tests[test].why for made in runs.values() if test in made.tests})
    for what in (*DEMANDED, *ALLOWED):
        for each in [each for each in found if each.what == what][:SHOWN]:
            say(f"\n{what}: {each.id} of {each.test or 'no test'}; stored: {each.stored or '-'}", *each.told)
    say("")
    rows = [("", *runs, "right"), *_of_tests(runs, len(differ)), *_of_tasks(runs, Counter(each.what for each in found))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        columns = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        say("  ".join([first.ljust(widths[0]), *columns]).rstrip())
    say(f"\nwhat is wrong, task by task: {DETAILS.relative_to(ROOT)}")


def _of_tests(runs: Mapping[str, Run], differ: int) -> list[tuple[str, ...]]:
    counted = {way: Counter(each.state for each in made.tests.values()) for way, made in runs.items()}
    states = sorted({state for each in counted.values() for state in each})
    rows = [(f"tests {state}", *(str(counted[way][state]) for way in runs), "") for state in states]
    again = [str(sum(each.reruns > 0 for each in made.tests.values())) for made in runs.values()]
    rows.append(("tests that were run again by the suite", *again, ""))
    minutes = [max(part.seconds for part in made.parts) / 60 for made in runs.values()]
    rows.append(("minutes", *(f"{each:.1f}" for each in minutes), ""))
    if len(runs) > 1:
        rows.append(("tests that differ", *[""] * (len(runs) - 1), str(differ), "0"))
    return rows


def _of_tasks(runs: Mapping[str, Run], wrong: Mapping[str, int]) -> list[tuple[str, ...]]:
    if (watched := runs.get("watched")) is None:
        return []
    events = [event for part in watched.parts for _, event in part.events]
    figures = {
        "events": len(events),
        "tasks": len({event.id for event in events}),
        "events by the safety net": sum(event.source == "backend" for event in events),
        "stored results": sum(len(part.stored) for part in watched.parts),
        **{what: wrong.get(what, 0) for what in (*DEMANDED, *ALLOWED)},
    }
    blank = [""] * (len(runs) - 1)
    return [(name, *blank, str(value), "0" if name in DEMANDED else "") for name, value in figures.items()]


def _state(made: Run, test: str) -> str:
    return made.tests[test].state if test in made.tests else "not run"


def say(*lines: str) -> None:
    """Say it as soon as it is known: a run takes minutes."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""What is found wrong with a run of Celery's suite: each thing that must not be, and nothing else."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.celery_suite.judging import Outcome, differing, outcomes, wrongs
from tests.support.events import event
from watcher.core.event import Event

TESTS = {"test_a": Outcome("passed", start=0.0, stop=10.0)}


def note(test: str, when: str, outcome: str = "passed", *, xfail: bool = False) -> dict[str, Any]:
    return {"test": test, "when": when, "outcome": outcome, "xfail": xfail, "start": 1.0, "stop": 2.0, "why": outcome}


def found(*events: Event, **stored: Any) -> list[str]:
    return [each.what for each in wrongs(enumerate(events, 1), stored, TESTS)]


def test_a_test_ends_as_its_last_attempt_did() -> None:
    notes = [note("a", "setup"), note("a", "call", "rerun"), note("a", "teardown")]
    notes += [note("a", "setup"), note("a", "call"), note("a", "teardown")]
    assert outcomes(notes)["a"][:2] == ("passed", 1)


def test_one_phase_or_part_that_fails_fails_the_test() -> None:
    assert outcomes([note("a", "setup"), note("a", "call", "failed"), note("a", "call")])["a"].state == "failed"
    assert outcomes([note("a", "setup"), note("a", "call"), note("a", "teardown", "failed")])["a"].state == "failed"
    assert outcomes([note("a", "setup", "skipped"), note("a", "teardown")])["a"].state == "skipped"


def test_what_is_known_to_fail_is_told_apart() -> None:
    notes = [note("a", "setup"), note("a", "call", "skipped", xfail=True), note("a", "teardown")]
    assert outcomes(notes)["a"].state == "xfailed"


def test_tests_differ_by_their_outcome_and_by_not_having_run() -> None:
    without = {"same": Outcome("failed"), "other": Outcome("passed"), "missing": Outcome("passed")}
    watched = {"same": Outcome("failed", reruns=5), "other": Outcome("failed"), "new": Outcome("passed")}
    assert differing(without, watched) == ["other", "missing", "new"]


def test_the_last_word_is_held_against_what_is_stored() -> None:
    life = (event("t", "STARTED", 1, root_id="t"), event("t", "SUCCESS", 2, root_id="t"))
    assert found(*life, t={"status": "SUCCESS"}) == []
    assert found(*life, t={"status": "FAILURE"}) == ["another last word"]
    assert found(life[0], t={"status": "SUCCESS"}) == ["another last word"]
    assert found(t={"status": "SUCCESS"}) == ["another last word"], "of which nothing was told"
    assert found(t={"status": "REVOKED"}) == ["revoked but never sent"]
    assert found(t={"status": "REVOKED", "name": "add"}) == ["another last word"]
    member = event("t", "FAILURE", root_id="t", group_id="g")
    assert found(member, g={"status": "FAILURE"}) == ["a group's own id"]
    assert found(member, other={"status": "FAILURE"}) == ["another last word"]
    rejected = {"status": "FAILURE", "result": {"exc_type": "Reject"}}
    assert found(event("t", "REJECTED", root_id="t"), t=rejected) == [], "Celery stores it as a failure"


def test_late_retries_and_ends_without_root_are_found() -> None:
    retried = event("t", "RETRY", 1, root_id="t", late=True)
    assert found(retried, event("t", "SUCCESS", 2, root_id="t")) == ["late RETRY"]
    assert found(event("t", "SUCCESS", 2)) == ["end without root"]
    assert found(event("t", "STARTED", 2)) == ["no end"]


def test_what_goes_on_after_its_end_is_found() -> None:
    life = [event("t", state, at, root_id="t") for at, state in enumerate(("REVOKED", "STARTED", "SUCCESS"), 1)]
    assert found(life[0], replace(life[1], late=True)) == []
    assert found(*life) == ["more after an end"]


def test_a_task_is_told_with_its_test_and_its_events() -> None:
    (wrong,) = wrongs([(7, event("t", "FAILURE", 3, name="add", retries=1, reason="time_limit"))], {}, TESTS)
    assert (wrong.id, wrong.test, wrong.stored) == ("t", "test_a", "")
    assert wrong.told == ["7 3.000 add FAILURE try 1 time_limit no root"]

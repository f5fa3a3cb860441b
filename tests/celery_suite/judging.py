"""What must hold of Celery's own suite: the same outcomes with the plugin as without, and the journal's word as stored.

Pure: what was noted down and read goes in, what is wrong comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from watcher.core.event import Event, is_final, task_of

__all__ = ["ALLOWED", "DEMANDED", "Outcome", "Wrong", "differing", "outcomes", "state_of", "wrongs"]

#: What must not be …
DEMANDED = ("another last word", "late RETRY", "end without root")
#: … and what is only told of: tests send an id again that has ended, leave tasks behind that never end, and revoke ids
#: that nobody has sent, for which Celery stores REVOKED, and of which no task is made. So it is with a group whose
#: tasks never run: Celery stores FAILURE under its own id, too.
ALLOWED = ("more after an end", "no end", "revoked but never sent", "a group's own id")

Life = Sequence[tuple[int, Event]]


class Outcome(NamedTuple):
    """How one test ended: its last attempt, how often it was run again, and from when to when (Unix seconds)."""

    state: str
    reruns: int = 0
    why: str = ""
    start: float = 0.0
    stop: float = 0.0


class Wrong(NamedTuple):
    """What is told wrong, of which task, in which test; what Celery keeps of it, and what the journal says."""

    what: str
    id: str
    test: str
    stored: str
    told: list[str]


def outcomes(notes: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """Each test's outcome, by what its process noted down: a test has several phases, and may be run again."""
    found: dict[str, Outcome] = {}
    for note in notes:
        before = found.get(note["test"], Outcome("passed", start=note["start"]))
        state, why, reruns = before.state, before.why, before.reruns + (note["outcome"] == "rerun")
        if note["when"] == "setup":  # the first attempt, or the next one
            state, why = "passed", ""
        if note["outcome"] != "passed" and state == "passed":
            state, why = note["outcome"], note["why"]
        if note["xfail"] and state in ("passed", "skipped"):
            state = "xfailed"
        found[note["test"]] = Outcome(state, reruns, why, before.start, note["stop"])
    return found


def differing(without: Mapping[str, Outcome], watched: Mapping[str, Outcome]) -> list[str]:
    """Tests that ended otherwise with the plugin than without; one that wasn't run is one of them."""
    absent = Outcome("not run")
    tests = dict.fromkeys([*without, *watched])
    return [each for each in tests if without.get(each, absent).state != watched.get(each, absent).state]


def wrongs(
    events: Iterable[tuple[int, Event]], stored: Mapping[str, Mapping[str, Any]], tests: Mapping[str, Outcome]
) -> list[Wrong]:
    """What is told wrong of each task.

    :param events: of the whole journal, each with its offset, in order.
    :param stored: id → what the result backend keeps, decoded.
    :param tests: what ran when, so that it can be said where a task is from.
    """
    lives: dict[str, list[tuple[int, Event]]] = {}
    for offset, event in events:
        lives.setdefault(event.id, []).append((offset, event))
    groups = {event.group_id for life in lives.values() for _, event in life}
    found = []
    for identity in dict.fromkeys([*lives, *stored]):
        life = lives.get(identity, [])
        said = state_of(stored[identity]) if identity in stored else ""
        test = _test_at(life[0][1].timestamp, tests) if life else ""
        story = [_line(offset, event) for offset, event in life]
        never_sent = not life and said == "REVOKED" and not stored[identity].get("name")
        if never_sent:
            kinds = ["revoked but never sent"]
        elif not life and said == "FAILURE" and identity in groups:
            kinds = ["a group's own id"]
        else:
            kinds = _of_one(life, said)
        found += [Wrong(what, identity, test, said, story) for what in kinds]
    return found


def state_of(stored: Mapping[str, Any]) -> str:
    """What the plugin calls what Celery has stored: a rejected task is stored as a failure."""
    result = stored.get("result")
    rejected = stored["status"] == "FAILURE" and isinstance(result, dict) and result.get("exc_type") == "Reject"
    return "REJECTED" if rejected else str(stored["status"])


def _of_one(life: Life, stored: str) -> list[str]:
    found = []
    task = task_of(life)
    if stored and (task is None or task.state != stored):
        found.append("another last word")
    found += ["late RETRY" for _, event in life if event.late and event.state == "RETRY"]
    found += ["end without root" for _, event in life if is_final(event.state) and not event.root_id]
    ended = [number for number, (_, event) in enumerate(life) if is_final(event.state) and not event.late]
    if ended and any(not event.late for _, event in life[ended[0] + 1 :]):
        found.append("more after an end")
    if task is not None and not task.final and not stored:
        found.append("no end")
    return found


def _test_at(moment: float, tests: Mapping[str, Outcome]) -> str:
    return next((name for name, each in tests.items() if each.start <= moment <= each.stop), "")


def _line(offset: int, event: Event) -> str:
    """An event as a person wants it who looks for what went wrong."""
    said = [str(offset), f"{event.timestamp:.3f}", str(event.name), event.state, f"try {event.retries}"]
    said += [event.source] if event.source == "backend" else []
    said += [event.reason] if event.reason else []
    said += ["late"] if event.late else []
    said += [] if event.root_id else ["no root"]
    return " ".join(said)

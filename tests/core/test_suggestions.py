"""What somebody may have meant, and that asking costs little."""

from __future__ import annotations

import time

import pytest

from watcher.core.suggestions import Suggestions, state_meant

TASKS = ["shop.orders.cancel", "shop.orders.send", "shop.mail.send", "tasks.add", "tasks.count_primes"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("tasks.ad", "tasks.add"), ("task.add", "tasks.add"), ("add", "tasks.add"), ("Add", "tasks.add"),
        ("proj.tasks.add", "tasks.add"), ("tasks.count_prime", "tasks.count_primes"),
        ("shop.order.send", "shop.orders.send"), ("mail.send", "shop.mail.send"), ("shop.mails.send", "shop.mail.send"),
        ("nothing", None), ("", None), ("x" * 10_000, None),
    ],
)  # fmt: skip
def test_a_name_that_is_like_another(given: str, meant: str | None) -> None:
    assert Suggestions().meant(given, lambda: TASKS) == ("" if meant is None else f"; did you mean {meant!r}?")


def test_a_flood_of_wrong_names_is_not_guessed_at() -> None:
    now, asked = [0.0], []

    def names() -> list[str]:
        asked.append(now[0])
        return TASKS

    guesses = Suggestions(lambda: now[0])
    for _ in range(1000):
        guesses.meant("tasks.ad", names)
    assert len(asked) == 20
    now[0] = 1.0
    assert guesses.meant("tasks.ad", names)
    for _ in range(1000):
        guesses.meant("tasks.ad", names)
    assert len(asked) == 30


def test_guessing_among_many_names_takes_a_moment() -> None:
    many = [f"app{number}.tasks.something_{number}" for number in range(20_000)]
    start = time.process_time()
    assert Suggestions().meant("app.task.something_77", lambda: many) == "; did you mean 'app77.tasks.something_77'?"
    assert Suggestions().meant("app.task.thing", lambda: many) == ""
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("FAILED", "FAILURE"), ("failed", "FAILURE"), ("Failure", "FAILURE"), ("FAILURES", "FAILURE"),
        ("SUCCEEDED", "SUCCESS"), ("SUCESS", "SUCCESS"), ("success", "SUCCESS"), ("REVOKE", "REVOKED"),
        ("IGNORE", "IGNORED"), ("REJECT", "REJECTED"), (" SUCCESS", "SUCCESS"),
    ],
)  # fmt: skip
def test_a_state_that_is_a_mistake_for_one_that_ends_a_task(given: str, meant: str) -> None:
    assert state_meant(given) == meant


@pytest.mark.parametrize(
    "state",
    [
        "PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "REJECTED", "IGNORED", "SUCCESS",
        "DOWNLOADING", "progress", "ERROR", "PARTIAL", "RUNNING", "DONE", "EXPIRED", "PROGRESSING", "step 3",
        "Fertig", "",
    ],
)  # fmt: skip
def test_what_tasks_call_their_states_is_taken(state: str) -> None:
    assert state_meant(state) is None

"""The states of a submission: who may change them, and what its client is told in each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from watcher.core.errors import BadArguments, NotSent, Unavailable
from watcher.journal.layout import Appended
from watcher.relay.submit.idempotency import AlreadySubmitted, Claim, ClaimBusy
from watcher.relay.submit.pending_submission import SUBMITTED, TRANSITIONS, PendingSubmission, State, Substitute

PLACE = Appended("7", 12, 1)
app = Celery("pending", set_as_current=False)


@app.task(name="pending.add")
def add(x: int, y: int) -> int:
    return x + y


def submission() -> PendingSubmission:
    return PendingSubmission(Claim("a", False, "0" * 16, "0" * 32), add, "a", (1, 2), {}, sent_at=1.0)


#: State → what leads there from the state before it, and that state.
Step = Callable[[PendingSubmission], Any]
STEPS: dict[State, tuple[State, Step]] = {
    State.ANSWERED: (State.NEW, lambda pending: pending.answer(ClaimBusy("b"))),
    State.CLAIMED: (State.NEW, lambda pending: pending.claimed("a")),
    State.ANNOUNCED: (State.CLAIMED, lambda pending: pending.announced(PLACE)),
    State.SENDING: (State.ANNOUNCED, lambda pending: pending.begin_sending()),
    State.SENT: (State.SENDING, lambda pending: pending.end_sending(State.SENT)),
    State.SUBSTITUTED: (
        State.SENDING,
        lambda pending: pending.end_sending(State.SUBSTITUTED, substitute=Substitute("other", None)),
    ),
    State.UNKNOWN: (State.SENDING, lambda pending: pending.end_sending(State.UNKNOWN)),
    State.NOT_SENT: (State.SENDING, lambda pending: pending.end_sending(State.NOT_SENT, NotSent("no"))),
}


def at(state: State) -> PendingSubmission:
    """A submission that has come so far."""
    if state is State.NEW:
        return submission()
    before, step = STEPS[state]
    pending = at(before)
    assert step(pending)
    assert pending.state is state
    return pending


@pytest.mark.parametrize("state", State)
def test_a_step_is_taken_where_the_table_allows_it_and_else_changes_nothing(state: State) -> None:
    for target, (_, step) in STEPS.items():
        pending = at(state)
        assert step(pending) is (target in TRANSITIONS[state])
        assert pending.state is (target if target in TRANSITIONS[state] else state)


@pytest.mark.parametrize("state", State)
def test_withdrawing_reaches_what_nobody_has_begun_to_send(state: State) -> None:
    pending = at(state)
    before = state in (State.NEW, State.CLAIMED, State.ANNOUNCED)
    assert pending.withdraw() is before
    assert pending.state is (State.NOT_SENT if before else state)
    assert not (before and pending.begin_sending())


@pytest.mark.parametrize("state", [state for state in State if state is not State.ANSWERED])
def test_the_client_is_told_what_the_state_means(state: State) -> None:
    pending = at(state)
    outcome = pending.outcome()
    if SUBMITTED[state] == "yes":
        stands = "other" if state is State.SUBSTITUTED else "a"
        assert outcome == AlreadySubmitted(stands, PLACE.epoch, PLACE.offset, existing=stands == "other")
    elif state is State.NOT_SENT:
        assert isinstance(outcome, NotSent)
    else:
        assert isinstance(outcome, Unavailable)
        assert outcome.submitted == SUBMITTED[state]
        assert str(outcome).startswith("Redis" if state in (State.NEW, State.CLAIMED) else "the broker")
    assert pending.state is state  # to look changes nothing


def test_a_verdict_is_the_answer_and_the_first_one_holds() -> None:
    pending, refused = submission(), BadArguments("no")
    assert pending.answer(refused)
    assert not pending.answer(ClaimBusy("b"))
    assert pending.outcome() is refused


def test_what_was_withdrawn_still_says_that_it_was_claimed_and_announced() -> None:
    """So that it is put on record, and the claim is given back."""
    pending = submission()
    assert pending.withdraw()
    assert not pending.claimed("b")
    assert not pending.announced(PLACE)
    assert (pending.task_id, pending.position, pending.state) == ("b", PLACE, State.NOT_SENT)


def test_either_the_loop_withdraws_it_or_the_thread_sends_it() -> None:
    for _ in range(200):
        pending, begun, start = at(State.ANNOUNCED), [False], threading.Barrier(2)

        def send(pending: PendingSubmission = pending, begun: list[bool] = begun, start: Any = start) -> None:
            start.wait()
            begun[0] = pending.begin_sending()

        thread = threading.Thread(target=send)
        thread.start()
        start.wait()
        withdrawn = pending.withdraw()
        thread.join()
        assert withdrawn is not begun[0]


def test_the_thread_records_what_the_loop_gave_up_on_while_it_was_sent() -> None:
    pending = at(State.SENDING)
    assert pending.leave_to_thread()
    assert pending.end_sending(State.SENT)
    assert pending.left_to_thread


@pytest.mark.parametrize("state", [state for state in State if state is not State.SENDING])
def test_the_loop_records_all_else(state: State) -> None:
    pending = at(state)
    assert not pending.leave_to_thread()
    assert not pending.left_to_thread


def test_nobody_records_what_nobody_knows() -> None:
    pending = at(State.SENDING)
    assert pending.leave_to_thread()
    assert pending.end_sending(State.UNKNOWN)
    assert not pending.left_to_thread

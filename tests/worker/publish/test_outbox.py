"""The outbox: order, bound, batches, repeats; with an `append` that the test controls, and no Redis."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.support.waiting import wait_for
from watcher.core.event import Event, decode, weight
from watcher.journal.layout import BATCH_EVENTS, Record
from watcher.worker.publish.appender import BatchRefused, JournalAway
from watcher.worker.publish.cpu_budget import CpuBudget
from watcher.worker.publish.outbox import HurriedOutbox, Outbox


def told(task_id: str, state: str = "STARTED", *, text: str = "") -> Event:
    return Event(id=task_id, retries=0, state=state, timestamp=time.time(), source="signal", argsrepr=text or None)


class Journal:
    """Takes batches, or raises what the test sets; remembers every attempt."""

    def __init__(self) -> None:
        self.attempts: list[tuple[int, list[str]]] = []
        self.ids: list[str] = []
        self.texts: list[str | None] = []
        self.error: Exception | None = None
        self.held = threading.Event()
        self.held.set()

    def append(self, number: int, batch: Sequence[Record], meanwhile: Callable[[], None] | None) -> None:
        self.attempts.append((number, [record.id for record in batch]))
        assert self.held.wait(10)
        if meanwhile is not None:
            meanwhile()
        if self.error is not None:
            raise self.error
        self.ids += [record.id for record in batch]
        self.texts += [decode(record.line).argsrepr for record in batch]


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def outbox(journal: Journal) -> Iterator[Outbox]:
    made = Outbox(journal.append, bound=1 << 20)
    yield made
    journal.held.set()
    made.stop()


def test_what_is_put_is_appended_in_order_and_flush_waits_for_it(journal: Journal, outbox: Outbox) -> None:
    for number in range(100):
        outbox.put(told(str(number)))
    assert outbox.flush(5)
    assert journal.ids == [str(number) for number in range(100)]
    assert outbox.unsent() == 0


def test_events_during_an_append_form_batches_of_bounded_size(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=1 << 20)
    journal.held.clear()
    outbox.put(told("first"))
    wait_for(lambda: journal.attempts, what="the first batch to be on its way")
    for number in range(BATCH_EVENTS + 10):
        outbox.put(told(str(number)))
    journal.held.set()
    assert outbox.flush(5)
    assert [len(ids) for _, ids in journal.attempts] == [1, BATCH_EVENTS, 10]
    outbox.stop()


def test_full_outbox_drops_new_events_and_logs_the_count_once(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    each = weight(told("0", text="x" * 1500))
    outbox = Outbox(journal.append, bound=10 * each)
    journal.held.clear()
    outbox.put(told("0", "SUCCESS", text="x" * 1500))
    wait_for(lambda: journal.attempts, what="the first batch to be on its way")
    for number in range(1, 20):
        outbox.put(told(str(number), text="x" * 1500))
    assert outbox.unsent() == 10 * each
    journal.held.set()
    assert outbox.flush(5)
    assert journal.ids == [str(number) for number in range(10)]
    wait_for(lambda: caplog.messages, what="a line in the log")
    assert ["events lost: 10 (buffer full: 10, refused: 0)" in message for message in caplog.messages] == [True]
    outbox.put(told("again"))
    assert outbox.flush(5)
    assert journal.ids[-1] == "again"
    outbox.stop()


def test_an_event_that_cannot_be_sent_costs_no_other(
    journal: Journal, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    for state in ("STARTED", "half a character: \ud800", "half a character: \udfff", "SUCCESS"):
        outbox.put(told("a", state))
    assert outbox.flush(5)
    assert journal.ids == ["a", "a"]
    assert outbox.unsent() == 0
    assert len([message for message in caplog.messages if "events are missing, of task 'a' first" in message]) == 1


def test_an_outage_repeats_the_same_batch_under_the_same_number(
    journal: Journal, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    journal.error = JournalAway("TimeoutError: no answer")
    outbox.put(told("a", "SUCCESS"))
    wait_for(lambda: len(journal.attempts) >= 3, what="three attempts")
    outbox.put(told("b", "SUCCESS"))
    journal.error = None
    assert outbox.flush(5)
    assert {number for number, ids in journal.attempts if ids == ["a"]} == {1}
    assert journal.attempts[-1] == (2, ["b"])
    assert journal.ids == ["a", "b"]
    away, back = caplog.messages
    assert "TimeoutError: no answer" in away
    assert "publishing again" in back


def test_a_refused_batch_is_dropped_and_does_not_hold_up_the_next(
    journal: Journal, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = BatchRefused("ResponseError: WRONGTYPE")
    outbox.put(told("a", "SUCCESS"))
    assert outbox.flush(5)
    outbox.put(told("b", "SUCCESS"))
    assert outbox.flush(5)
    journal.error = None
    outbox.put(told("c", "SUCCESS"))
    assert outbox.flush(5)
    assert journal.ids == ["c"]
    assert outbox.unsent() == 0
    assert len(caplog.messages) == 2
    assert "refused: 2" in caplog.messages[1]


def test_an_unexpected_error_costs_its_batch_but_not_the_thread(
    journal: Journal, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    journal.error = ZeroDivisionError()
    outbox.put(told("a", "SUCCESS"))
    wait_for(lambda: caplog.messages, what="a line in the log")
    journal.error = None
    outbox.put(told("b", "SUCCESS"))
    assert outbox.flush(5)
    assert journal.ids == ["b"]
    assert outbox.unsent() == 0


def test_flush_gives_up_soon_when_nothing_moves(journal: Journal, outbox: Outbox) -> None:
    journal.held.clear()
    outbox.put(told("a", "SUCCESS"))
    start = time.monotonic()
    assert not outbox.flush(5)
    assert 0.2 < time.monotonic() - start < 2.5, "long before the time is over"


def test_fast_reports_are_reduced_to_the_first_and_last(journal: Journal, outbox: Outbox) -> None:
    for number in range(10):
        outbox.put(told("a", "PROGRESS", text=str(number)))
    outbox.put(told("a", "SUCCESS", text="end"))
    assert outbox.flush(5)
    assert journal.texts == ["0", "9", "end"]
    assert outbox.unsent() == 0


def test_throttled_report_is_sent_when_due(journal: Journal, outbox: Outbox) -> None:
    for number in range(10):
        outbox.put(told("a", "PROGRESS", text=str(number)))
    wait_for(lambda: len(journal.texts) == 2, what="the newest report")
    assert journal.texts == ["0", "9"]


def test_flush_takes_kept_reports_along(journal: Journal, outbox: Outbox) -> None:
    for number in range(10):
        outbox.put(told("a", "CUSTOM", text=str(number)))
    assert outbox.flush(5)
    assert journal.texts == ["0", "9"]


def test_many_threads_lose_nothing_and_keep_their_order(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=1 << 24)

    def work(name: str) -> None:
        for number in range(500):
            outbox.put(told(f"{name}:{number}", "SUCCESS" if number % 7 == 0 else "STARTED"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.flush(10)
    assert len(journal.ids) == 2000
    for name in "abcd":
        own = [task_id for task_id in journal.ids if task_id.startswith(name)]
        assert own == [f"{name}:{number}" for number in range(500)]
    assert outbox.unsent() == 0
    outbox.stop()


class Slow(CpuBudget):
    """A pace by which the next send is far away."""

    @property
    def rest(self) -> float:
        return 60


class Lingering(CpuBudget):
    """A pace by which what is no end waits long for one."""

    @property
    def linger(self) -> float:
        return 60


def test_non_final_events_linger_once_an_end_was_seen(journal: Journal, outbox: Outbox) -> None:
    outbox._rounds.budget = Lingering()
    outbox.put(told("a"))
    wait_for(lambda: journal.ids == ["a"], what="the first one, since there was no end yet")
    outbox.put(told("a", "SUCCESS"))
    wait_for(lambda: journal.ids == ["a", "a"], what="the end")
    outbox.put(told("b"))
    outbox.put(told("b", "SUCCESS"))
    outbox.put(told("c"))
    assert outbox.flush(5)
    assert journal.attempts[2][1][:2] == ["b", "b"], "they travel together"


def test_a_rest_gathers_what_comes_and_who_waits_ends_it(journal: Journal, outbox: Outbox) -> None:
    outbox._rounds.budget = Slow()
    outbox.put(told("first", "SUCCESS"))
    wait_for(lambda: journal.attempts, what="the first batch to be on its way")
    for number in range(20):
        outbox.put(told(str(number), "SUCCESS"))
    assert outbox.flush(5)
    assert [ids for _, ids in journal.attempts] == [["first"], [str(number) for number in range(20)]]


def test_cpu_time_of_a_greenlet_is_estimated(outbox: Outbox) -> None:
    clock = outbox._rounds.clock
    assert clock.spent() != clock.spent(), "a thread has a clock of its own"
    clock.maker = threading.get_native_id()  # as where the publisher's thread is a greenlet beside its maker
    assert clock.spent() == clock.spent() > 0


def test_nobody_rests_before_what_waits_already_is_sent(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=1 << 20)
    outbox._rounds.budget = Slow()
    journal.held.clear()
    outbox.put(told("first"))
    wait_for(lambda: journal.attempts, what="the first batch to be on its way")
    for number in range(2 * BATCH_EVENTS):
        outbox.put(told(str(number)))
    journal.held.set()
    wait_for(lambda: len(journal.attempts) == 3, what="all full batches")
    outbox.stop()


def test_outbox_without_threads_sends_on_put_and_backs_off(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=20_000, threaded=False)
    before = threading.active_count()
    outbox.put(told("a"))
    assert journal.ids == ["a"]
    journal.error = JournalAway("away")
    for name in "bcd":
        outbox.put(told(name))
    assert len(journal.attempts) == 2, "after a failure, others don't try for a while"
    journal.error = None
    outbox._not_before = 0
    outbox.put(told("e"))
    assert journal.ids == list("abcde")
    assert [number for number, _ in journal.attempts] == [1, 2, 2, 3]
    assert threading.active_count() == before


def test_outbox_sends_on_put_until_a_thread_can_start(journal: Journal) -> None:
    brief: list[bool] = []
    outbox = Outbox(journal.append, bound=20_000, be_brief=brief.append)
    before = threading.stack_size(1 << 46)  # no machine has so much to give
    try:
        outbox.put(told("a"))
        outbox.put(told("b"))
    finally:
        threading.stack_size(before)
    assert (journal.ids, brief) == (["a", "b"], [True, True])
    outbox.put(told("c"))
    assert outbox.flush(5)
    assert (journal.ids, brief) == (["a", "b", "c"], [True, True, False])
    outbox.stop()


def test_what_is_put_while_somebody_sends_inline_is_sent_by_them(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=20_000, threaded=False)
    journal.held.clear()
    sending = threading.Thread(target=outbox.put, args=(told("a"),))
    sending.start()
    wait_for(lambda: journal.attempts, what="the first one to be on its way")
    outbox.put(told("b"))
    journal.held.set()
    sending.join(5)
    assert journal.ids == ["a", "b"]
    assert outbox.unsent() == 0


def test_a_flush_without_threads_takes_kept_reports_along(journal: Journal) -> None:
    outbox = Outbox(journal.append, bound=20_000, threaded=False)
    for number in range(10):
        outbox.put(told("a", "PROGRESS", text=str(number)))
    assert outbox.flush(5)
    assert journal.texts == ["0", "9"]


def test_hurried_put_is_synchronous_until_the_journal_is_away(journal: Journal) -> None:
    outbox = HurriedOutbox(journal.append, bound=20_000)
    for number in range(5):
        outbox.put(told(str(number), "PENDING"))
        assert journal.ids == [str(each) for each in range(number + 1)]
    journal.held.clear()
    start = time.monotonic()
    for _ in range(20):
        outbox.put(told("b", "PENDING"))
        outbox.put(told("b"))
    assert time.monotonic() - start < 2, "only the first one waits"
    journal.held.set()
    assert outbox.flush(5)
    assert len(journal.ids) == 45
    outbox.stop()


def test_what_is_abandoned_is_sent_by_nobody_here(journal: Journal, outbox: Outbox) -> None:
    outbox.put(told("a"))
    assert outbox.flush(5)
    outbox.abandon()
    outbox.put(told("b"))
    outbox.put(told("c"))
    assert not outbox.flush(0.3)
    assert "c" not in journal.ids


def test_a_second_thread_that_nobody_knows_leaves_at_once(journal: Journal, outbox: Outbox) -> None:
    """A soft time limit may strike while the thread is being started, and then the next event starts another."""
    outbox.put(told("a"))
    assert outbox.flush(5)
    other = threading.Thread(target=outbox._run, daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()
    outbox.put(told("b"))
    assert outbox.flush(5)
    assert journal.ids == ["a", "b"]

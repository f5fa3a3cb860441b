"""What is shown of tasks to people."""

from __future__ import annotations

import pytest
from msgspec import Raw

from tests.support.events import event
from watcher.cli.terminal.tasks import age, columns, described, duration, row
from watcher.core.event import Event, ExceptionInfo, Task, task_of

NOW = 1_000_000.0


def task(*told: Event) -> Task:
    folded = task_of(enumerate(told, 1))
    assert folded is not None
    return folded


def cells(told: Task, sort: str = "when") -> dict[str, str]:
    return dict(zip((column.title for column in columns(sort)), row(told, NOW, sort), strict=True))


@pytest.mark.parametrize(
    ("seconds", "long", "ago"),
    [
        (0, "0.0ms", "0s"), (0.00042, "0.4ms", "0s"), (0.0123, "12ms", "0s"), (3.239, "3.24s", "3s"),
        (59.96, "60.0s", "59s"), (75, "1m15s", "75s"), (125, "2m05s", "2m"), (11_400, "3h10m", "3h"),
        (187_200, "2d4h", "2d"),
    ],
)  # fmt: skip
def test_how_long_and_how_long_ago(seconds: float, long: str, ago: str) -> None:
    assert (duration(seconds), age(seconds)) == (long, ago)


def test_a_clock_that_is_ahead_shows_nothing_negative() -> None:
    assert age(-5) == "0s"


def test_a_row_says_what_went_wrong_in_one_line() -> None:
    raised = ExceptionInfo("CardDeclined", "no\nmoney\x1b[2J", "Traceback …")
    told = task(event("a", "FAILURE", NOW - 3, name="charge", hostname="celery@web1", runtime=0.5, exception=raised))
    assert cells(told) == {
        "AGE": "3s", "STATE": "FAILURE", "NAME": "charge", "ID": "a", "WORKER": "celery@web1", "RUNTIME": "500ms",
        "ERROR": "CardDeclined: no\\nmoney\\x1b[2J",
    }  # fmt: skip
    assert cells(task(event("a", "REVOKED", NOW, reason="expired")))["ERROR"] == "expired"
    assert len(cells(task(event("a", "FAILURE", NOW, exception=ExceptionInfo("E", "x" * 1000))))["ERROR"]) == 200


def test_a_running_task_has_run_so_far_and_one_that_is_lost_does_not() -> None:
    assert cells(task(event("a", "STARTED", NOW - 75)))["RUNTIME"] == "1m15s"
    lost = cells(task(event("a", "STARTED", NOW - 75), event("a", "PROGRESS", NOW - 70, reason="worker_lost")))
    assert (lost["RUNTIME"], lost["ERROR"]) == ("", "worker_lost")


def test_a_list_shows_what_it_is_sorted_by() -> None:
    told = task(event("a", "PENDING", NOW - 100, sent=NOW - 100), event("a", "STARTED", NOW - 10, sent=NOW - 100))
    assert cells(told)["AGE"] == "10s"
    assert cells(told, "sent")["AGE"] == "100s"
    assert cells(told, "waited")["WAITED"] == "1m30s"


def test_all_that_is_known_of_a_task() -> None:
    told = task(
        event("a", "PENDING", NOW - 2, name="add", queue="q", argsrepr="(2, 3)", kwargsrepr="{}", tags=("x\u202e", "y"),
              root_id="r", sent=NOW - 2),
        event("a", "STARTED", NOW - 1, hostname="celery@w"),
        event("a", "SUCCESS", NOW, runtime=1.0, result=Raw(b'["\\u001b]0;x\\u0007", 1]')),
    )  # fmt: skip
    assert list(described(told, NOW, local=False)) == [
        "State      SUCCESS",
        "Since      1970-01-12T13:46:40.000Z (0s ago)",
        "Name       add",
        "Id         a",
        "Arguments  (2, 3)",
        "Queue      q",
        "Worker     celery@w",
        "Tags       x\\u202e y",
        "Root       r",
        "Waited     1.00s",
        "Runtime    1.00s",
        "",
        "Times",
        "  PENDING  1970-01-12T13:46:38.000Z",
        "  STARTED  1970-01-12T13:46:39.000Z  +1.00s",
        "  SUCCESS  1970-01-12T13:46:40.000Z  +1.00s",
        "",
        "Result",
        "  [",
        '    "\\u001b]0;x\\u0007",',
        "    1",
        "  ]",
    ]


def test_a_traceback_is_whole_and_a_terminal_obeys_none_of_it() -> None:
    raised = ExceptionInfo("E", "m", 'Traceback:\n  File "x"\nE: \x9b2J')
    shown = list(described(task(event("a", "FAILURE", NOW, exception=raised)), NOW, local=False))
    assert shown[-4:] == ["Traceback", "  Traceback:", '    File "x"', "  E: \\x9b2J"]
    assert "Error  E: m" in shown


def test_what_is_not_sent_in_an_event_is_named() -> None:
    shown = list(described(task(event("a", "SUCCESS", NOW, result_size=5_000_000)), NOW, local=False))
    assert "5000000 bytes" in shown[-1]
    scheduled = task(event("a", "PENDING", NOW, eta="1970-01-13T00:00:00+00:00", expires="soon"))
    told = dict(line.split("  ", 1) for line in described(scheduled, NOW, local=False) if "  " in line)
    assert (told["Not before"], told["Expires"].strip()) == ("1970-01-13T00:00:00.000Z", "soon")

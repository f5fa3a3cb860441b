"""The argument FILTER: read before anybody is asked, whatever it begins with."""

from __future__ import annotations

import os
import time

import click
import pytest

from tests.cli.calls import within
from tests.support.processes import free_port
from watcher.cli.count import count
from watcher.cli.list import list_tasks
from watcher.core.filters import parse


def read(*arguments: str) -> dict[str, object]:
    """What a command is told by these."""
    return dict(list_tasks.make_context("list", list(arguments)).params)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), ""),
        (("state:failed", "name:mail.*"), "state:failed name:mail.*"),
        (("state:failed name:mail.*",), "state:failed name:mail.*"),
        (("-state:failed",), "-state:failed"),
        (("-name:charge", "-id:h"), "-name:charge -id:h"),  # click would find its -h in them
        (("--", "-queue:x"), "-queue:x"),
        (("-queue:x", "--", "-queue:y"), "-queue:x -queue:y"),
        (('"free text"',), '"free text"'),
        (("free text",), "free text"),
    ],
)
def test_terms_are_one_filter(arguments: tuple[str, ...], text: str) -> None:
    assert read(*arguments)["filter_text"] == parse(text).text


def test_options_stand_anywhere_between_terms() -> None:
    told = read("-queue:x", "--limit", "5", "-state:failed", "--sort=sent", "--json")
    assert told["filter_text"] == "-queue:x -state:failed"
    assert (told["limit"], told["sort"], told["as_json"]) == (5, "sent", True)
    with pytest.raises(click.BadParameter, match="-5"):
        read("--limit", "-5")
    with pytest.raises(click.NoSuchOption):
        read("--nothing")
    with pytest.raises(click.UsageError, match="requires an argument"):
        read("state:failed", "--sort")


def test_moments_are_those_of_the_person_who_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the relay, which has another clock and may be in another time zone."""
    monkeypatch.setenv("TZ", "EST+05")
    time.tzset()
    try:
        assert read("since:2026-11-30T03:10")["filter_text"] == "since:2026-11-30T08:10:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "EST+05"


@pytest.mark.parametrize("command", ["list", "count"])
def test_a_wrong_filter_is_2_and_nobody_is_asked(command: str) -> None:
    ended = within(command, "statr:failed", url=f"http://127.0.0.1:{free_port()}")
    assert (ended.code, ended.out) == (2, "")
    told = " ".join(ended.err.split())
    assert "statr:failed" in told
    assert "did you mean state:failed?" in told


def test_what_an_error_repeats_a_terminal_does_not_obey() -> None:
    with pytest.raises(click.BadParameter) as caught:
        read("since:\x9b2J")
    assert caught.value.format_message().isprintable()


@pytest.mark.parametrize("by", ["", "nothing", "state,state", "state,name,queue", "state,", "state\x1b"])
def test_what_can_not_be_counted_by_is_2_and_told_what_can(by: str) -> None:
    with pytest.raises(click.BadParameter, match="state, kind, name, queue, worker, error") as caught:
        count.make_context("count", ["--by", by])
    assert caught.value.format_message().isprintable()


def test_one_form_at_a_time() -> None:
    ended = within("list", "--json", "--ids", url="http://127.0.0.1:1")
    assert ended.code == 2
    assert "--json, --ids" in ended.err

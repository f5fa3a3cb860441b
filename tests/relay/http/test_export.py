"""What a list looks like as a file, and which file is asked for."""

from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from msgspec import Raw
from starlette.requests import Request

from tests.support.events import event
from watcher.core.event import ExceptionInfo, task_of
from watcher.core.task_csv import COLUMNS
from watcher.relay.http.export import beginning, chosen, rows


def request(accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", accept.encode("latin-1"))]})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "json"), ("*/*", "json"), ("application/json", "json"), ("text/csv", "csv"), ("TEXT/CSV", "csv"),
        ("text/csv; header=present, */*;q=0.1", "csv"), ("application/json, text/csv;q=0.9", "json"),
        ("application/x-ndjson", "ndjson"), ("text/csv;q=0.5, application/x-ndjson;q=0.6", "ndjson"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"), ("text/csv;q=0", "json"),
        ("text/csv;q=nonsense", "csv"), (", ;;q=1,é", "json"),
    ],
)  # fmt: skip
def test_the_format_is_what_is_accepted(accept: str, expected: str) -> None:
    assert chosen(request(accept), None) == expected
    assert [chosen(request(accept), name) for name in ("json", "csv", "ndjson")] == ["json", "csv", "ndjson"]


def tasks() -> list[Raw]:
    raised = ExceptionInfo("shop.CardDeclined", '=HYPERLINK("http://x/")', "Traceback …")
    told = [
        event("a", "SUCCESS", 20.5, name="mail.send", result=Raw(b'{"x": "1,\\n2"}'), sent=10.0, tags=("a b", "c")),
        event("-b", "FAILURE", 21.0, name="@x", exception=raised, argsrepr=" =1", runtime=-0.5, retries=2),
        event("zoë", "STARTED", 22.0, name="\t=1", hostname="+w", queue='say "hi"', kwargsrepr="{'a': '\r\n'}"),
        event("n", "SUCCESS", 23.0, result=Raw(b"-5"), group_id="\uff1d1"),
    ]  # fmt: skip
    return [Raw(msgspec.json.encode(task_of([(number, each)]))) for number, each in enumerate(told, 1)]


def test_csv_has_a_row_of_each_task_and_no_formula() -> None:
    written = beginning("csv") + rows("csv", tasks())
    assert written.endswith(b"\r\n")
    table = list(csv.DictReader(io.StringIO(written.decode(), newline="")))
    assert tuple(table[0]) == COLUMNS
    one, two, three, four = table
    assert (one["id"], one["tags"], one["result"]) == ("a", "a b c", '{"x": "1,\\n2"}')
    assert (one["sent"], one["ended"], one["started"]) == ("1970-01-01T00:00:10.000Z", "1970-01-01T00:00:20.500Z", "")
    assert (two["id"], two["name"], two["args"], two["runtime"]) == ("'-b", "'@x", "' =1", "-0.5")
    assert (two["exception"], two["message"]) == ("shop.CardDeclined", '\'=HYPERLINK("http://x/")')
    assert (three["id"], three["name"], three["hostname"]) == ("zoë", "'\t=1", "'+w")
    assert (three["queue"], three["kwargs"], three["ended"]) == ('say "hi"', "{'a': '\r\n'}", "")
    assert (four["result"], four["group_id"]) == ("-5", "'\uff1d1")
    for row in table:
        for name, cell in row.items():
            assert name in ("runtime", "result") or not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d")), cell


def test_ndjson_is_each_task_as_it_is() -> None:
    assert beginning("ndjson") == b""
    lines = rows("ndjson", tasks()).splitlines()
    assert lines == [bytes(task) for task in tasks()]
    assert [json.loads(line)["id"] for line in lines] == ["a", "-b", "zoë", "n"]

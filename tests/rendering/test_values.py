"""Values as they go into events: as Celery's JSON serializer stores them, bounded, whatever users' code does."""

from __future__ import annotations

import base64
import enum
import json
import math
import uuid
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps
from msgspec import UNSET

from watcher.rendering.values import NotJson, Rendering, json_text

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


class Colour(str, enum.Enum):  # noqa: UP042 - what people have
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Hostile:
    def __json__(self) -> Any:
        raise KeyError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Spoken:
    def __json__(self) -> Any:
        return {"spoken": True}


def decoded(value: Any) -> Any:
    return json.loads(json_text(value))


@given(plain)
def test_plain_values_are_written_as_celery_writes_them(value: Any) -> None:
    assert decoded(value) == json.loads(dumps(value))
    assert msgspec.json.decode(json_text(value)) is not UNSET  # and by a strict reader too


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
        (datetime(2026, 1, 2), "2026-01-02T00:00:00"),  # noqa: DTZ001 - naive ones exist
        (date(2026, 1, 2), "2026-01-02"),
        (clock(3, 4), "03:04:00"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (b"text", "text"),
        (b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a", None: "b", False: "c", 1.5: "d"}, {"1": "a", "null": "b", "false": "c", "1.5": "d"}),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (2**70, 2**70),
        (Spoken(), {"spoken": True}),
        ([{"when": date(2026, 1, 2)}], [{"when": "2026-01-02"}]),
        ("naïve 🎉 \n", "naïve 🎉 \n"),
    ],
)
def test_special_values_are_plain_strings_without_envelopes(value: Any, written: Any) -> None:
    assert decoded(value) == written
    shown = Rendering().result(value)
    assert isinstance(shown.value, msgspec.Raw)
    assert not shown.is_repr


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "nan"),
        ([1.5, math.inf], "[1.5, inf]"),
        ({"a": -math.inf}, "{'a': -inf}"),
        ("\ud800", r"'\ud800'"),
        ({"\udfff": 1}, r"{'\udfff': 1}"),
        ({3}, "{3}"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (1j, "1j"),
        (10**5000, "<unrepresentable int>"),
        (Hostile(), "<unrepresentable Hostile>"),
        ([Hostile()], "<unrepresentable list>"),
        ({"line\n"}, r"{'line\n'}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_celery_refuses_is_shown_by_its_repr(value: Any, text: str) -> None:
    shown = Rendering().result(value)
    assert shown.is_repr
    assert shown.size is None
    assert isinstance(shown.value, msgspec.Raw)
    assert msgspec.json.decode(shown.value) == text


def test_circles_and_depth_are_not_json() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (circle, deep):
        with pytest.raises(NotJson):
            json_text(value)


def test_a_large_result_leaves_its_size() -> None:
    rendering = Rendering(max_result=100)
    shown = rendering.result("é" * 100)
    assert shown == (UNSET, False, 202)
    assert rendering.result("é" * 49).size is None


def test_results_can_be_left_out_but_progress_stays() -> None:
    rendering = Rendering(send_results=False)
    assert rendering.result({"secret": 1}) == (UNSET, False, None)
    assert rendering.meta({"current": 1}).value == msgspec.Raw(b'{"current":1}')


@pytest.mark.parametrize("value", [[], [1, "a", None, True, 1.5, {"k": [1]}], [2**53 - 1], ["é" * 10], [(1, 2)]])
def test_arguments_are_sent_where_json_holds_them_whole(value: list[Any]) -> None:
    arguments = Rendering().arguments(tuple(value), {"key": value}, "", "")
    assert isinstance(arguments.args, msgspec.Raw)
    assert isinstance(arguments.kwargs, msgspec.Raw)
    assert json.loads(bytes(arguments.args)) == json.loads(json.dumps(value))
    assert json.loads(bytes(arguments.kwargs)) == {"key": json.loads(json.dumps(value))}


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        b"x",
        {1},
        math.nan,
        "\ud800",
        2**53,
        {1: 2},
        Colour.RED,
        Number.ONE,
        Decimal(1),
        Spoken(),
        "x" * 5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_arguments_that_json_would_change_are_not_sent(value: Any) -> None:
    arguments = Rendering().arguments([value], {"key": value}, "([value],)", "{}")
    assert arguments.args is UNSET
    assert arguments.kwargs is UNSET
    assert arguments.argsrepr == "([value],)"


def test_argument_reprs_are_truncated_or_built_if_missing() -> None:
    arguments = Rendering().arguments((1,), {"a": 2}, "x" * 2000, None)
    assert arguments.argsrepr == "x" * 1024
    assert arguments.kwargsrepr == "{'a': 2}"


def test_arguments_can_be_left_out_altogether() -> None:
    assert Rendering(send_args=False).arguments((1,), {}, "(1,)", "{}") == (None, None, UNSET, UNSET)


SECRET = "hunter2"


class Opaque:
    def __repr__(self) -> str:
        return f"Opaque(password={SECRET!r})"


class Told:
    def __json__(self) -> Any:
        return {"password": SECRET}


def text_of(shown: tuple[Any, ...]) -> str:
    return " ".join(bytes(each).decode() if isinstance(each, msgspec.Raw) else str(each) for each in shown)


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        [{"user": {"api_key": [SECRET]}}],
        {"credentials": {"a": SECRET}},
        f"redis://:{SECRET}@host/0",
        Opaque(),
        Told(),
        {1: Opaque(), "token": SECRET},
        {"when": {1}, "secret": {SECRET}},
    ],
    ids=["a key", "deep", "whole", "a URL", "a repr", "__json__", "no JSON", "a set"],
)
def test_no_secret_leaves_in_arguments_results_and_metas(value: Any) -> None:
    rendering = Rendering()
    for shown in (rendering.result(value), rendering.meta(value)):
        assert SECRET not in text_of(shown)
        assert "***" in text_of(shown)
    for text in (None, repr((value,))):
        arguments = rendering.arguments((value,), {"a": value}, text, None)
        assert SECRET not in text_of(arguments)
        assert (arguments.args, arguments.kwargs) == (UNSET, UNSET)


def test_what_is_secret_by_the_name_of_its_parameter() -> None:
    rendering = Rendering(positions=((1, "password"), (2, "token")))
    found = rendering.arguments(("ann", SECRET, None), {}, f"('ann', '{SECRET}', None)", "{}")
    assert (found.argsrepr, found.args) == ("('ann', '***', None)", UNSET)
    found = rendering.arguments(("ann",), {}, "('ann',)", "{}")
    assert (found.argsrepr, found.args) == ("('ann',)", msgspec.Raw(b'["ann"]'))


@pytest.mark.parametrize(("args", "given"), [((1, "a"), "(1, 'a')"), (([1, 2], "a"), "((1, 2), 'a')"), ((1,), "[1]")])
def test_argsrepr_of_the_sender_replaces_the_values(args: Any, given: str) -> None:
    """``apply_async(argsrepr=…)`` is Celery's own way to hide arguments."""
    made = Rendering().arguments(args, {}, given, "{}")  # what Celery makes by itself
    assert (made.argsrepr, made.args is not UNSET) == (given, True)
    assert Rendering().arguments(list(args), {}, given, "{}") == made  # … and after its journey
    shown = Rendering().arguments(args, {"card": 4711}, "(<hidden>)", "{'card': <hidden>}")
    assert shown == ("(<hidden>)", "{'card': <hidden>}", UNSET, UNSET)
    shown = Rendering().arguments((SECRET,), {}, "(<hidden>, password=x)", "{}")
    assert shown.argsrepr == "(<hidden>, password=***)"


def test_a_text_that_was_cut_within_a_secret_shows_no_part_of_it() -> None:
    kwargs = {"text": "x" * 1000, "password": SECRET * 10}
    assert SECRET not in str(Rendering().arguments((), kwargs, "()", repr(kwargs)[:1040] + "..."))
    long = Rendering().exception(ValueError("x" * 1010 + f" password={SECRET}"), f"password='{SECRET}'" + "y" * 16380)
    assert "unter" not in str(long)
    lines = f"password='{SECRET}" + " " * 16_000 + f"'\n{'y' * 8000} token={'z' * 15_000}"  # masked, it is short
    assert "unter" not in str(Rendering().exception(ValueError(), lines))
    lines = f"password='{'a' * 10}{'b' * 100}'\n" + f"token={'z' * 32_700}"
    assert "bb" not in str(Rendering().exception(ValueError(), lines))
    assert "ter2" not in str(long)


def test_a_hook_comes_first_and_what_it_can_not_look_at_is_hidden() -> None:
    seen: list[str] = []

    def hook(value: Any, field: str) -> Any:
        seen.append(field)
        if value == "odd":
            raise KeyError("odd")
        return "###" if "4711" in repr(value) else value

    rendering = Rendering(hook=hook)
    assert rendering.arguments((4711,), {"a": 1}, "(4711,)", "{'a': 1}") == (
        "'###'", "{'a': 1}", UNSET, msgspec.Raw(b'{"a":1}'),
    )  # fmt: skip
    assert rendering.result([4711]).value == msgspec.Raw(b'"###"')
    assert rendering.result("odd").value == msgspec.Raw(b'"***"')
    assert rendering.meta({"password": SECRET}).value == msgspec.Raw(b'{"password":"***"}')
    assert rendering.exception(ValueError("4711"), "Traceback").message == "###"
    assert seen == ["args", "kwargs", "result", "result", "meta", "exception", "exception"]


def test_an_exception_is_cut_to_what_says_most() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    error = Rendering().exception(ValueError("é\ud800" + "x" * 2000), "head" + "y" * 20_000 + "tail")
    assert error.type == "ValueError"
    assert error.message.startswith("é\\ud800xxx")
    assert error.traceback is not None
    assert len(error.traceback) == 16384
    assert error.traceback.endswith("tail")
    assert Rendering().exception(Mute(), None).message


def test_a_soft_time_limit_is_the_tasks_own() -> None:
    class Limited:
        def __json__(self) -> Any:
            raise SoftTimeLimitExceeded

        def __repr__(self) -> str:
            raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        json_text(Limited())

"""form.js: a form made from a signature, and a call made from what was typed into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Page

Parameter: TypeAlias = dict[str, Any]
Fill: TypeAlias = Callable[..., Any]

_FILL = """async ([parameters, texts]) => {
  const { arrange, fieldsOf, read } = await import("/model/form.js");
  const { stringify } = await import("/model/json.js");
  const fields = fieldsOf(parameters);
  const initial = Object.fromEntries(fields.map(({ name, initial }) => [name, initial]));
  const { values, errors } = read(fields, { ...initial, ...texts });
  const { args, kwargs, errors: gaps } = arrange(fields, values);
  return stringify({ args, kwargs, errors: { ...gaps, ...errors }, initial });
}"""


def parameter(name: str, annotation: str = "", kind: str = "positional_or_keyword", **default: Any) -> Parameter:
    required = not default and not kind.startswith("var")
    return {"name": name, "annotation": annotation, "kind": kind, "required": required, **default}


@pytest.fixture
def fill(blank: Page) -> Fill:
    # As text: the numbers that matter here are those that JavaScript would round.
    return lambda parameters, **texts: blank.evaluate(_FILL, [parameters, texts])


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("int", "7", "7"), ("int", " -007 ", "-7"), ("int", "18446744073709551617", "18446744073709551617"),
        ("float", "1e3", "1000"), ("float", "0.5", "0.5"), ("str", "7", '"7"'), ("str", '""', '""'),
        ("str", " spaces stay ", '" spaces stay "'), ("bool", "true", "true"), ("bool", "false", "false"),
        ("list[int]", "[1, 2]", "[1,2]"), ("dict[str, int | None]", '{"a": null}', '{"a":null}'),
        ("Optional[int]", "None", "null"), ("int | None", "3", "3"), ("int | str", "x", '"x"'),
        ("typing.Literal['a', 'b']", '"b"', '"b"'), ("Literal[1, 2]", "2", "2"),
        ("", "7", "7"), ("", "seven", '"seven"'), ("", '"7"', '"7"'), ("", "null", "null"),
        ("", "[9007199254740993]", "[9007199254740993]"),
        ("Decimal", "1.50", "1.5"),
    ],
)  # fmt: skip
def test_texts_become_values(fill: Fill, annotation: str, text: str, value: str) -> None:
    answer = fill([parameter("x", annotation)], x=text)
    assert f'"args":[{value}],"kwargs":{{}},"errors":{{}}' in answer


@pytest.mark.parametrize(
    ("annotation", "text", "mistake"),
    [
        ("int", "1.5", "whole number"), ("int", "x", "whole number"), ("int", "", "required"),
        ("float", "Infinity", "a number"), ("float", "1,5", "a number"), ("str", "", "required"),
        ("list[int]", "[1,", "Invalid JSON"), ("list[int]", "{}", "JSON list"), ("dict", "[]", "JSON object"),
        ("", "", "required"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_of_its_field(fill: Fill, annotation: str, text: str, mistake: str) -> None:
    assert mistake in fill([parameter("x", annotation)], x=text).partition('"errors":')[2]


def test_defaults_are_filled_in_and_sent_as_they_stand(fill: Fill) -> None:
    parameters = [
        parameter("a", "int", default=3), parameter("b", "str", default=""), parameter("c", default="7"),
        parameter("d", "int", default=None), parameter("e", "bool", kind="keyword_only", default=True),
        parameter("f", "dict", kind="keyword_only", default={"k": 1}),
    ]  # fmt: skip
    answer = fill(parameters)
    assert '"args":[3,"","7"],"kwargs":{"e":true,"f":{"k":1}},"errors":{}' in answer
    assert '"initial":{"a":"3","b":"\\"\\"","c":"\\"7\\"","d":"","e":"true","f":"{\\"k\\":1}"}' in answer


def test_values_go_where_the_signature_wants_them(fill: Fill) -> None:
    parameters = [
        parameter("a", kind="positional_only"), parameter("b", required=False), parameter("c", required=False),
        parameter("args", kind="var_positional"), parameter("k", kind="keyword_only", required=False),
        parameter("rest", kind="var_keyword"),
    ]  # fmt: skip
    assert '"args":[1],"kwargs":{"c":3,"k":4,"z":5},' in fill(parameters, a="1", c="3", k="4", rest='{"z": 5}')
    assert '"args":[1,2,3,8,9],"kwargs":{},' in fill(parameters, a="1", b="2", c="3", args="[8, 9]")
    assert '"errors":{"b":"This is required when args is given"}' in fill(parameters, a="1", c="3", args="[8]")


def test_a_call_can_be_edited(blank: Page) -> None:
    parameters = [
        parameter("a", "int"), parameter("text", "str"), parameter("any", default=1),
        parameter("args", kind="var_positional"),
        parameter("k", "float", kind="keyword_only", default=1), parameter("rest", kind="var_keyword"),
    ]  # fmt: skip
    call = {"args": [1, "", "7", True, None], "kwargs": {"k": 2.5, "z": [1]}}
    again = blank.evaluate(
        """async ([parameters, { args, kwargs }]) => {
          const { arrange, fieldsOf, read, textsFor } = await import("/model/form.js");
          const fields = fieldsOf(parameters);
          return arrange(fields, read(fields, textsFor(fields, args, kwargs)).values);
        }""",
        [parameters, call],
    )
    assert again == {**call, "errors": {}}


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("argument 'x': Expected `int`, got `str`", "x"),
        ("missing a required argument: 'y'", "y"),
        ("got an unexpected keyword argument 'z'", "z"),
        ("option 'queue' is not accepted", "queue"),
        ("the broker can't be reached", None),
    ],
)
def test_the_argument_that_a_refusal_names(blank: Page, message: str, name: str | None) -> None:
    find = "async (message) => (await import('/model/form.js')).argumentIn(message)"
    assert blank.evaluate(find, message) == name


def test_options(blank: Page) -> None:
    read = "async (texts) => (await import('/model/form.js')).readOptions(texts)"
    typed = {"tags": "user:42, b ,", "countdown": "1.5", "priority": "", "queue": " q "}
    values = {"queue": "q", "countdown": 1.5, "tags": ["user:42", "b"]}
    assert blank.evaluate(read, typed) == {"values": values, "errors": {}}
    assert set(blank.evaluate(read, {"task_id": "a b", "priority": "high"})["errors"]) == {"task_id", "priority"}

"""What a task's signature is told as, and which arguments fit it."""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import msgspec
import pytest
from celery import Celery, Task
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from watcher.core.errors import BadArguments
from watcher.relay.api.signature import Signature, describe

if TYPE_CHECKING:
    from decimal import Decimal

app = Celery("signatures", broker="memory://", set_as_current=False)


class Colour(enum.Enum):
    RED = "red"


@app.task
def plain(x: int, y: float = 2.5, *, label: str = "a", deep: bool = False) -> float:
    """Add.

    And more.
    """
    return x + y


@app.task(bind=True)
def bound(self: Task[Any, Any], count: int, extra: Optional[str] = None) -> None: ...  # noqa: UP045 - older code has it


@app.task(bind=True, autoretry_for=(ValueError,))
def retrying(self: Task, x: int) -> None: ...  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time


@app.task(typing=False)
def unchecked(x: int) -> None: ...


@app.task
def odd(
    a: Decimal,
    b: int | None,
    c: Annotated[int, "metres"],
    *,
    d: Literal["x", "y"] = "x",
    e: Any = Colour.RED,
    f: tuple[int, ...] = (1,),
    g: dict[str, list[int]] = {"k": [1]},  # noqa: B006 - that is what people write
) -> None: ...


@app.task
def open_ended(first: str, *rest: int, **others: bool) -> None: ...


def injecting(body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return body("session", *args, **kwargs)

    return wrapper


@app.task
@injecting
def decorated(session: str, x: int) -> None: ...


class Grumpy:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@app.task
def grumpy(x: Any = Grumpy()) -> None: ...  # noqa: B008 - a default whose repr raises


class ByClass(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    name = "by.class"

    def run(self, x: int, y: int = 1) -> int:
        """Written on run."""
        return x + y


by_class = app.register_task(ByClass())
app.finalize()


def complaint(task: Any, *args: Any, **kwargs: Any) -> str | None:
    signature = Signature.of(task)
    assert signature is not None
    try:
        signature.check(args, kwargs)
    except BadArguments as error:
        return str(error)
    return None


def test_a_task_is_described_with_its_parameters_and_docstring() -> None:
    told = msgspec.json.decode(msgspec.json.encode(describe(plain)))
    assert told["name"] == "tests.relay.api.test_signature.plain"
    assert told["signature"] == "(x: int, y: float = 2.5, *, label: str = 'a', deep: bool = False) -> float"
    assert told["doc"] == "Add.\n\nAnd more."
    assert told["parameters"] == [
        {"name": "x", "kind": "positional_or_keyword", "required": True, "annotation": "int"},
        {"name": "y", "kind": "positional_or_keyword", "required": False, "annotation": "float", "default": 2.5},
        {"name": "label", "kind": "keyword_only", "required": False, "annotation": "str", "default": "a"},
        {"name": "deep", "kind": "keyword_only", "required": False, "annotation": "bool", "default": False},
    ]


def test_self_of_a_bound_task_is_no_parameter() -> None:
    assert [parameter.name for parameter in describe(bound).parameters] == ["count", "extra"]
    assert complaint(bound, 1) is None
    assert complaint(bound) == "argument 'count': is required"


def test_autoretry_task_keeps_its_own_signature_for_checks() -> None:
    assert describe(retrying).signature == "(x: int) -> None"
    assert complaint(retrying, "a") == "argument 'x': expected an integer, not a string"


def test_a_task_class_is_described_by_its_run_method() -> None:
    told = describe(by_class)
    assert (told.name, [parameter.name for parameter in told.parameters]) == ("by.class", ["x", "y"])
    assert told.doc == "Written on run."
    assert complaint(by_class, 1, 2, 3) == "got 3 positional arguments, but at most 2 are accepted"


def test_people_see_through_a_decorator_and_the_check_does_not() -> None:
    assert [parameter.name for parameter in describe(decorated).parameters] == ["session", "x"]
    assert complaint(decorated, 1) is None


def test_unresolvable_annotations_are_described_as_written() -> None:
    told = {parameter.name: parameter for parameter in describe(odd).parameters}
    assert told["a"].annotation == "Decimal"
    assert complaint(odd, "1.5", "anything", 3) is None


def test_a_default_is_told_only_where_json_holds_it() -> None:
    told = {parameter.name: parameter for parameter in describe(odd).parameters}
    assert told["e"].default is UNSET
    assert told["f"].default is UNSET
    assert bytes(told["g"].default) == b'{"k":[1]}'  # type: ignore[arg-type]  # it is Raw
    assert not told["e"].required


def test_a_default_whose_repr_raises_does_no_harm() -> None:
    assert describe(grumpy).signature == "(x: Any)"


def test_switched_off_typing_is_not_checked() -> None:
    assert Signature.of(unchecked) is None
    assert describe(unchecked).signature == "(x: int) -> None"


@pytest.mark.parametrize(
    ("args", "kwargs", "expected", "at_fault"),
    [
        ((), {}, "argument 'x': is required", "x"),
        ((1,), {"z": 1}, "argument 'z': is not accepted", "z"),
        ((1, 2, 3), {}, "got 3 positional arguments, but at most 2 are accepted", None),
        ((1,), {"x": 1}, "argument 'x': is given twice, by position and by name", "x"),
        (("1",), {}, "argument 'x': expected an integer, not a string", "x"),
        ((1.5,), {}, "argument 'x': expected an integer, not a number", "x"),
        ((True,), {}, "argument 'x': expected an integer, not a boolean", "x"),
        ((None,), {}, "argument 'x': expected an integer, not null", "x"),
        ((1, "2"), {}, "argument 'y': expected a number, not a string", "y"),
        ((1, True), {}, "argument 'y': expected a number, not a boolean", "y"),
        ((1,), {"label": 5}, "argument 'label': expected a string, not an integer", "label"),
        ((1,), {"label": ["a"]}, "argument 'label': expected a string, not an array", "label"),
        ((1,), {"deep": 0}, "argument 'deep': expected a boolean, not an integer", "deep"),
        ((1,), {"deep": {}}, "argument 'deep': expected a boolean, not an object", "deep"),
    ],
)
def test_a_refusal_names_the_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], expected: str, at_fault: str | None
) -> None:
    signature = Signature.of(plain)
    assert signature is not None
    with pytest.raises(BadArguments) as caught:
        signature.check(args, kwargs)
    assert str(caught.value) == expected
    assert caught.value.argument == at_fault


def test_what_fits_is_accepted() -> None:
    assert complaint(plain, 1) is None
    assert complaint(plain, 1, 2, label="b", deep=True) is None  # an integer is fine for a float
    assert complaint(plain, y=1.5, x=2**70) is None
    assert complaint(bound, 1, None) is None
    assert complaint(open_ended, "a", 1, 2, anything=True) is None
    assert complaint(open_ended) == "argument 'first': is required"


@app.task
def modern(
    a: int | None,
    b: Annotated[float | None, "m"] = None,
    c: int = None,  # type: ignore[assignment]  # noqa: RUF013 - that is what people write
    d: str | bytes = "x",
) -> None: ...


def test_unions_are_checked_where_all_their_members_can_be() -> None:
    assert complaint(modern, None) is None
    assert complaint(modern, 1, 2, None) is None
    assert complaint(modern, "1") == "argument 'a': expected an integer or null, not a string"
    assert complaint(modern, 1, "x") == "argument 'b': expected a number or null, not a string"
    assert complaint(modern, 1, d=5) is None


_NAMES = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=6)
_KINDS = [
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
]


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    """Any signature that Python allows."""
    parameters: list[inspect.Parameter] = []
    kinds = sorted(draw(st.lists(st.sampled_from(_KINDS), max_size=6)))
    optional = False
    for name, kind in zip(draw(_NAMES), kinds, strict=False):
        variadic = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if variadic and any(parameter.kind is kind for parameter in parameters):
            continue
        if kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD:
            optional = optional or draw(st.booleans())
            has_default = optional
        else:
            has_default = not variadic and draw(st.booleans())
        default = 0 if has_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(parameters)


@given(
    signatures(),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.sampled_from("abcdefgz"), st.integers(), max_size=5),
)
@example(inspect.Signature([inspect.Parameter("a", _KINDS[0]), inspect.Parameter("b", _KINDS[4])]), [1], {"a": 2})
def test_argument_check_agrees_with_a_python_call(
    signature: inspect.Signature, args: list[int], kwargs: dict[str, int]
) -> None:
    made: dict[str, Any] = {}
    exec(f"def run{signature}: ...", made)  # inspect's own `bind` is wrong about `(a=0, /, **b)` before Python 3.12
    task = type("Made", (), {"name": "made", "run": staticmethod(made["run"]), "typing": True})()
    try:
        made["run"](*args, **kwargs)
    except TypeError:
        fits = False
    else:
        fits = True
    assert (complaint(task, *args, **kwargs) is None) == fits


@given(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers()))
def test_a_described_default_is_the_default(value: Any) -> None:
    def run(x: Any = value) -> None: ...

    (parameter,) = describe(type("Made", (), {"name": "made", "run": staticmethod(run), "typing": True})()).parameters
    if parameter.default is not UNSET:
        assert msgspec.json.decode(parameter.default) == value

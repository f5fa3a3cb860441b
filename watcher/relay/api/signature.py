"""A task's signature: what a form is made from, and what arguments are checked against before anything is sent.

Nothing here calls a task. Two signatures are looked at: people are shown the one that the author wrote, through
whatever decorators surround it, while arguments are checked against what will in fact be called, as Celery itself does,
because a decorator may add arguments of its own.
"""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, UnsetType

from watcher.core.errors import BadArguments
from watcher.rendering._celery import written_body

__all__ = ["Parameter", "Registered", "Signature", "Signed", "describe", "positional"]

Formal: TypeAlias = inspect.Parameter

#: A default is told up to this size, and the text of a signature or an annotation too. In bytes and characters.
_LIMIT: Final = 4096
#: Annotations whose values are told apart by their JSON, and how they are called.
_PLAIN: Final = {int: "an integer", float: "a number", bool: "a boolean", str: "a string", type(None): "null"}
_JSON: Final = {
    type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
    dict: "an object",
}  # fmt: skip

#: What the JSON encoder writes.
_INTEGERS: Final = range(-(2**63), 2**64)

_ANNOTATIONS_AS_TEXT: dict[str, Any] = {}
if sys.version_info >= (3, 14):  # PEP 649: there, reading annotations evaluates them
    from annotationlib import Format

    _ANNOTATIONS_AS_TEXT["annotation_format"] = Format.STRING


class Signed(Protocol):
    """What is needed of a Celery task."""

    @property
    def name(self) -> str | None:
        """Under which it is registered."""

    @property
    def run(self) -> Callable[..., Any]:
        """What a worker calls."""

    @property
    def typing(self) -> bool | None:
        """Whether arguments are to be checked."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a task, as ``registry`` tells it.

    ``kind`` is that of :class:`inspect.Parameter` in lower case. ``default`` is there only where JSON can hold it.
    """

    name: str
    kind: str
    required: bool
    annotation: str
    default: Raw | UnsetType = UNSET


class Registered(msgspec.Struct, frozen=True):
    """One task that may be submitted, as ``registry`` tells it."""

    name: str
    signature: str
    parameters: list[Parameter]
    doc: str


def describe(task: Signed) -> Registered:
    """What people and programs are told of a task."""
    signature = _read(written_body(task), follow=True)
    parameters = [_parameter(parameter) for parameter in signature.parameters.values()]
    own = vars(task.__class__).get("__doc__")  # not what the class inherits; type() would see a Celery proxy
    doc = own if isinstance(own, str) else task.run.__doc__
    return Registered(str(task.name), _cut(_text(signature)), parameters, inspect.cleandoc(doc or ""))


def _parameter(parameter: Formal) -> Parameter:
    variadic = parameter.kind in (Formal.VAR_POSITIONAL, Formal.VAR_KEYWORD)
    return Parameter(
        name=parameter.name,
        kind=parameter.kind.name.lower(),
        required=parameter.default is Formal.empty and not variadic,
        annotation=_annotation(parameter.annotation),
        default=_default(parameter.default),
    )


def _annotation(annotation: Any) -> str:
    if annotation is Formal.empty:
        return ""
    return _cut(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def _default(value: Any) -> Raw | UnsetType:
    if value is Formal.empty or not _is_json(value):
        return UNSET
    text = msgspec.json.encode(value)
    return Raw(text) if len(text) <= _LIMIT else UNSET


def _is_json(value: Any) -> bool:
    """Whether ``value`` comes back from JSON as itself: a tuple doesn't, nor does an enumeration's member."""
    kind = type(value)
    if kind is float:
        return math.isfinite(float(value))
    if kind is str:
        return not any("\ud800" <= c <= "\udfff" for c in value)
    if kind is int:
        return value in _INTEGERS
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(key) is str and _is_json(key) for key in value) and all(map(_is_json, value.values()))
    return kind is bool or value is None


def _text(signature: inspect.Signature) -> str:
    try:
        return str(signature)
    except Exception:  # noqa: BLE001 - the repr of a default is users' code and may raise anything
        bare = [parameter.replace(default=Formal.empty) for parameter in signature.parameters.values()]
        return "(" + ", ".join(map(str, bare)) + ")"


def _cut(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()[:_LIMIT]


def _read(body: Callable[..., Any], *, follow: bool) -> inspect.Signature:
    """The signature with its annotations evaluated where that is possible; ``(*args, **kwargs)`` where there is none.

    :param follow: whether to look through decorators.
    """
    for options in ({"eval_str": True}, _ANNOTATIONS_AS_TEXT):
        try:
            return inspect.signature(body, follow_wrapped=follow, **options)
        except Exception:  # noqa: BLE001, S112 - evaluating annotations runs users' code, which may raise anything
            continue
    return inspect.Signature([Formal("args", Formal.VAR_POSITIONAL), Formal("kwargs", Formal.VAR_KEYWORD)])


def positional(task: Signed) -> list[str]:
    """The names of the parameters that positional arguments fill, in order; empty where that isn't known."""
    signature = Signature.of(task)
    return [parameter.name for parameter in signature.positional] if signature is not None else []


@dataclass(frozen=True, slots=True)
class Signature:
    """What a task is called with.

    :param positional: parameters that positional arguments fill, in order; ``named``: those that take a name.
    :param more: whether there is ``*args``; ``others``: whether there is ``**kwargs``.
    """

    positional: tuple[Formal, ...]
    named: Mapping[str, Formal]
    more: bool
    others: bool

    @classmethod
    def of(cls, task: Signed) -> Signature | None:
        """The signature that ``task`` is called with; None where its author has switched the check off (``typing``)."""
        if not task.typing:
            return None
        parameters = _read(written_body(task), follow=False).parameters.values()
        by_position = (Formal.POSITIONAL_ONLY, Formal.POSITIONAL_OR_KEYWORD)
        by_name = (Formal.POSITIONAL_OR_KEYWORD, Formal.KEYWORD_ONLY)
        return cls(
            positional=tuple(parameter for parameter in parameters if parameter.kind in by_position),
            named={parameter.name: parameter for parameter in parameters if parameter.kind in by_name},
            more=any(parameter.kind is Formal.VAR_POSITIONAL for parameter in parameters),
            others=any(parameter.kind is Formal.VAR_KEYWORD for parameter in parameters),
        )

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check arguments as they came out of JSON.

        Types are checked only where an annotation is int, float, bool, str, None or a union of them, and the value
        can't be meant: whatever else a task accepts is its own affair.

        :raises BadArguments: they don't fit; names the argument.
        """
        if len(args) > len(self.positional) and not self.more:
            accepted = f"at most {len(self.positional)} are accepted"
            raise BadArguments(f"got {len(args)} positional arguments, but {accepted}")
        filled = {parameter.name for parameter in self.positional[: len(args)]}
        named = {name: value for name, value in kwargs.items() if name in self.named}
        self._check_names(filled, named, kwargs)
        for parameter in (*self.positional, *self.named.values()):
            if parameter.default is Formal.empty and parameter.name not in filled and parameter.name not in named:
                raise _refuse(parameter.name, "is required")
        for parameter, value in zip(self.positional, args, strict=False):
            _check_value(parameter, value)
        for name, value in named.items():
            _check_value(self.named[name], value)

    def _check_names(self, filled: set[str], named: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        for name in kwargs:
            if name in named and name in filled:
                raise _refuse(name, "is given twice, by position and by name")
            if name not in named and not self.others:
                raise _refuse(name, "is not accepted")


def _check_value(parameter: Formal, value: Any) -> None:
    wanted = _plain_types(parameter.annotation)
    if not wanted or (value is None and parameter.default is None):
        return
    kind = type(value)
    if kind not in wanted and not (kind is int and float in wanted):
        takes = " or ".join(_PLAIN[type_name] for type_name in wanted)
        raise _refuse(parameter.name, f"expected {takes}, not {_JSON.get(kind, kind.__name__)}")


def _plain_types(annotation: Any) -> tuple[type, ...]:
    """The types that a value may have; empty where that can't be told."""
    if annotation is None:
        return (type(None),)
    if isinstance(annotation, type) and annotation in _PLAIN:
        return (annotation,)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain_types(get_args(annotation)[0])
    if origin is Union or origin is types.UnionType:
        members = [_plain_types(member) for member in get_args(annotation)]
        return tuple(kind for member in members for kind in member) if all(members) else ()
    return ()


def _refuse(name: str, why: str) -> BadArguments:
    return BadArguments(f"argument {name!r}: {why}", argument=name)

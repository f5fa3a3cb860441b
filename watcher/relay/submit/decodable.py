"""Whether a worker can decode the arguments that it is to be sent: it drops a message that it can't.

They are encoded as Celery will encode them, and decoded as a worker will. Where that fails, it is found out which part
is to blame: a serializer may give some values a meaning, as kombu's JSON does with ``{"__type__", "__value__"}``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from kombu import serialization
from kombu.exceptions import KombuError

from watcher.core.errors import BadArguments
from watcher.rendering._celery import json_tags

__all__ = ["check"]

#: Why a call of these positional arguments doesn't reach a task; None where it does.
_Fails: TypeAlias = Callable[[list[Any]], Exception | None]

#: These carry whatever comes out of JSON, and read no meaning into it. So nothing is unpickled here.
_PLAIN: Final = ("pickle", "yaml")
_TAG: Final = {"__type__", "__value__"}
#: What is nested less deeply than this is decoded anywhere.
_SHALLOW: Final = 100
#: A worker decodes with more on its stack than there is here: so many levels.
_MARGIN: Final = 150
#: Where it is to be found is told up to about so many characters, a step on the way and a name up to so many.
_PLACE: Final = 100
_STEP: Final = 100
_NAME: Final = 50


class _Culprit(NamedTuple):
    """A part that no worker can decode: where it stands in what it is a part of."""

    step: str
    value: Any
    error: Exception


def check(args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str, names: Callable[[], Sequence[str]]) -> None:
    """Check that arguments, as they came out of JSON, reach a task.

    :param serializer: the name of the one that the task is sent with.
    :param names: gives the names of the parameters that positional arguments fill, as far as they are known.
    :raises BadArguments: they don't; names the argument and the place in it.
    """
    positional, named = list(args), dict(kwargs)
    if not _is_doubtful([positional, named], serializer):
        return
    # What can't carry an empty call either (it isn't installed, it signs and has no key here) is none of the client's.
    if _fault(positional, named, serializer) is None or _fault([], {}, serializer) is not None:
        return
    parameter_names = dict(enumerate(names()))
    parts = [(parameter_names.get(index, f"args[{index}]"), value) for index, value in enumerate(args)]
    _blame([*parts, *named.items()], lambda values: _fault(values, {}, serializer))
    raise BadArguments("the keyword arguments together encode another value, not those of a call")


def _blame(parts: list[tuple[str, Any]], fails: _Fails) -> None:
    """Say which of the arguments is to blame, where it is one of them."""
    culprit = _culprit(parts, fails)
    if culprit is None:
        return
    argument, path, inner = culprit.step, "", _culprit(_parts(culprit.value), fails)
    while inner is not None and len(path) < _PLACE:
        path, culprit = path + inner.step, inner
        inner = _culprit(_parts(culprit.value), fails)
    at = f"{path} in it" if path else "it"
    raise BadArguments(f"argument {argument!r}: no worker can decode {at}, {_why(culprit)}", argument=argument)


def _culprit(parts: list[tuple[str, Any]], fails: _Fails) -> _Culprit | None:
    """The first of some parts that no worker can decode; None where it can each of them."""
    if not parts or fails([value for _, value in parts]) is None:
        return None
    while len(parts) > 1:
        half = parts[: len(parts) // 2]
        parts = half if fails([value for _, value in half]) is not None else parts[len(half) :]
    step, value = parts[0]
    error = fails([value])
    return _Culprit(step[:_STEP], value, error) if error is not None else None


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f".{key}", part) for key, part in value.items()]
    return [(f"[{index}]", part) for index, part in enumerate(value)] if isinstance(value, list) else []


def _is_doubtful(call: list[Any], serializer: str) -> bool:
    """Whether it is worth to try. Nearly all are plain JSON without a tag, and that takes a fraction of the time."""
    try:
        text = json.dumps(call)
    except (ValueError, RecursionError):
        return True
    deep = text.count("[") + text.count("{") > _SHALLOW and _is_deep(call)
    if serializer in _PLAIN:
        return deep and serializer != "pickle"
    return deep or serializer != "json" or '"__type__"' in text


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_SHALLOW):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = list(itertools.chain.from_iterable(inner))
    return bool(level)


def _fault(args: list[Any], kwargs: dict[str, Any], serializer: str) -> Exception | None:
    """Why a call doesn't come out as one at a worker; None where it does."""
    message: Any = [args, kwargs, {}]
    for _ in range(_MARGIN if _is_deep(message) else 0):
        message = [message]
    try:
        kind, encoding, data = serialization.dumps(message, serializer)
        decoded = serialization.loads(data, kind, encoding, accept=[kind])
    except (KombuError, RecursionError) as error:
        return error
    while isinstance(decoded, list) and len(decoded) == 1:
        decoded = decoded[0]
    if isinstance(decoded[0], list | tuple) and isinstance(decoded[1], dict):
        return None
    return TypeError("not the arguments of a call")  # named like a tag, they were taken for one as a whole


def _why(culprit: _Culprit) -> str:
    """What is wrong with it, without the value: that may be a secret."""
    value, error = culprit.value, culprit.error
    while isinstance(error, KombuError) and error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    if isinstance(error, RecursionError):
        return "which is nested too deeply"
    if not isinstance(value, dict) or value.keys() != _TAG:
        return f"which its serializer rejects ({type(error).__name__})"
    kind, tags = value["__type__"], json_tags()
    if not isinstance(kind, str) or (tags and kind not in tags):
        return f"whose __type__ is not one of {', '.join(tags)}"
    return f"whose __value__ is not a {kind[:_NAME]} ({type(error).__name__})"

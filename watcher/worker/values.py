"""Python values → JSON text and short texts, bounded, as they go into events; nothing here does I/O.

A result is written as Celery's JSON serializer would store it, with one difference: where that writes an envelope such
as ``{"__type__": "datetime", "__value__": "2026-…"}``, an event has the plain string, since its readers are not Celery.
What the serializer refuses is shown by its ``repr``. Arguments are stricter: they are there only where JSON holds them
whole, because a reader may submit them again.

The values belong to users' code, and encoding them runs it: ``__json__``, ``__repr__``, encoders registered with kombu.
Whatever that raises ends here, with one exception: a soft time limit strikes anywhere, and is the task's to handle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from celery.exceptions import SoftTimeLimitExceeded
from kombu.utils.json import JSONEncoder
from msgspec import UNSET, Raw, UnsetType

from watcher.event import REPR_LIMIT, TRACEBACK_LIMIT, ExceptionInfo
from watcher.worker.reprs import clean, short_repr

__all__ = ["Arguments", "Mask", "NotJson", "Rendered", "Rendering", "json_text", "unmasked"]

#: What hides secrets in a value before anything of it leaves the process; it returns the value itself where there is
#: nothing to hide.
Mask: TypeAlias = Callable[[Any], Any]

_json: Final = msgspec.json.Encoder()
_NO_ARGS: Final = Raw(b"[]")
_NO_KWARGS: Final = Raw(b"{}")
#: Integers beyond this are rounded by readers that keep numbers as doubles (RFC 8259, 6), so they don't survive being
#: submitted again from a browser.
_EXACT_INTEGER: Final = 2**53 - 1
_ENVELOPE: Final = frozenset({"__type__", "__value__"})


class NotJson(ValueError):
    """Celery's JSON serializer refuses the value, or writes no JSON (NaN) or no UTF-8 (a lone surrogate)."""


class Rendered(NamedTuple):
    """A value as it goes into an event: its JSON, or its ``repr`` as JSON, or only its size where it is too large."""

    value: Raw | UnsetType
    is_repr: bool
    size: int | None


class Arguments(NamedTuple):
    """A task's arguments as they go into an event: texts for people, JSON where it holds them whole."""

    argsrepr: str | None
    kwargsrepr: str | None
    args: Raw | UnsetType
    kwargs: Raw | UnsetType


class _Encoder(JSONEncoder):
    """kombu's encoder, with a plain string in place of each envelope."""

    def default(self, o: Any) -> Any:
        made = super().default(o)
        if isinstance(made, dict) and made.keys() == _ENVELOPE:
            inner = made["__value__"]
            return inner if isinstance(inner, str) else str(o)
        return made


_encoder: Final = _Encoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def json_text(value: Any) -> bytes:
    """``value`` as JSON.

    :raises NotJson: it can't be written as JSON.
    """
    kind: type = type(value)
    if value is None or kind is bool or (kind is int and abs(value) <= _EXACT_INTEGER):
        return _json.encode(value)  # what most tasks return, in a tenth of the time
    try:
        return _encoder.encode(value).encode()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001 - __json__ and registered encoders are users' code and may raise anything
        raise NotJson(str(type(error))) from None


def unmasked(value: Any) -> Any:
    """A :data:`Mask` that hides nothing."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How values go into events: what of them is sent, up to which size, and what is masked first.

    :param max_result: bytes of JSON that a result or the meta of a state may have.
    :param max_args: bytes of JSON that the arguments, positional and by keyword each, may have.
    :param send_args: whether arguments are sent at all, their texts included.
    :param send_results: whether results are sent at all.
    :param mask: hides secrets in arguments, results, metas and the texts of exceptions: all that users' values turn
        into passes through it here, and only here.
    """

    max_result: int = 16384
    max_args: int = 4096
    send_args: bool = True
    send_results: bool = True
    mask: Mask = unmasked

    def result(self, value: Any) -> Rendered:
        """What a task returned."""
        return self.meta(value) if self.send_results else Rendered(UNSET, False, None)

    def meta(self, value: Any) -> Rendered:
        """What came with a state by ``update_state``."""
        try:
            text = json_text(self.mask(value))
        except NotJson:
            return Rendered(Raw(json_text(short_repr(self.mask(value), REPR_LIMIT))), True, None)
        if len(text) > self.max_result:
            return Rendered(UNSET, False, len(text))
        return Rendered(Raw(text), False, None)

    def arguments(self, args: Any, kwargs: Any, argsrepr: object, kwargsrepr: object) -> Arguments:
        """A task's arguments.

        :param argsrepr: the text that travels with the task's message, and ``kwargsrepr`` likewise; where there is none
            it is made from the value.
        """
        if not self.send_args:
            return Arguments(None, None, UNSET, UNSET)
        return Arguments(
            self._repr(args, argsrepr), self._repr(kwargs, kwargsrepr), self._whole(args), self._whole(kwargs)
        )

    def exception(self, error: BaseException, traceback: str | None, *, name: str | None = None) -> ExceptionInfo:
        """What a task raised.

        :param traceback: text of the traceback, None where Celery has none.
        :param name: name of the exception's type, where ``error`` only stands in for it.
        """
        try:
            message = str(error)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # noqa: BLE001 - __str__ is users' code and may raise anything
            message = short_repr(error, REPR_LIMIT)
        return ExceptionInfo(
            type=name or type(error).__name__,
            message=clean(self.mask(message)[:REPR_LIMIT]),
            traceback=clean(self.mask(traceback)[-TRACEBACK_LIMIT:]) if traceback else None,
        )

    def _repr(self, value: Any, given: object) -> str:
        if isinstance(given, str) and given:
            return clean(given[:REPR_LIMIT])
        return short_repr(self.mask(value), REPR_LIMIT)

    def _whole(self, value: Any) -> Raw | UnsetType:
        if not value:
            return _NO_KWARGS if isinstance(value, dict) else _NO_ARGS
        if self.mask(value) is not value:
            return UNSET
        try:
            text = json_text(value)
        except NotJson:
            return UNSET
        if len(text) > self.max_args or not _survives(value):
            return UNSET
        return Raw(text)


def _survives(value: Any) -> bool:
    """Whether ``value`` is the same after a journey as JSON, a tuple being as good as a list, as it is to Celery."""
    kind: type = type(value)
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_survives, value.values()))
    if kind is list or kind is tuple:
        return all(map(_survives, value))
    if kind is int:
        return abs(int(value)) <= _EXACT_INTEGER
    return kind is str or kind is float or kind is bool or value is None

"""Python values → JSON text and short texts, bounded, as they go into events; nothing here does I/O.

A result is written as Celery's JSON serializer would store it, with one difference: where that writes an envelope such
as ``{"__type__": "datetime", "__value__": "2026-…"}``, an event has the plain string, since its readers are not Celery.
What the serializer refuses is shown by its ``repr``. Arguments are stricter: they are there only where JSON holds them
whole, because a reader may submit them again.

Before anything of a value is sent, what looks secret in it is masked (watcher/redact/). Arguments that were masked,
or whose sender gave them another text (``argsrepr``, Celery's own way to hide some), are shown as text only.

The values belong to users' code, and encoding them runs it: ``__json__``, ``__repr__``, encoders registered with kombu.
Whatever that raises ends here, with one exception: a soft time limit strikes anywhere, and is the task's to handle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.saferepr import saferepr
from kombu.utils.json import JSONEncoder
from msgspec import UNSET, Raw, UnsetType

from watcher.core.event import REPR_LIMIT, TRACEBACK_LIMIT, ExceptionInfo
from watcher.core.redact import HIDDEN, Redactor, halves
from watcher.core.settings import Settings
from watcher.rendering.reprs import clean, short_repr

__all__ = ["Arguments", "NotJson", "Rendered", "Rendering", "TaskHook", "json_text"]

logger = logging.getLogger("watcher")

#: A user's masking for one task; see :data:`watcher.core.redact.Hook`.
TaskHook: TypeAlias = Callable[[Any, str], Any]

_json: Final = msgspec.json.Encoder()
_NO_ARGS: Final = Raw(b"[]")
_NO_KWARGS: Final = Raw(b"{}")
#: Integers beyond this are rounded by readers that keep numbers as doubles (RFC 8259, 6), so they don't survive being
#: submitted again from a browser.
_EXACT_INTEGER: Final = 2**53 - 1
#: Celery's texts of arguments have so many characters (celery/app/amqp.py, argsrepr_maxsize).
_CELERYS_REPR: Final = 1024
#: Of what is shown in part so much is looked at, in characters: a secret that lies across the cut is seen as a whole.
_LOOKED_AT: Final = 2 * REPR_LIMIT
_MESSAGE_LOOKED_AT: Final = 4 * REPR_LIMIT
#: Two texts of the same arguments differ in these, if at all: JSON makes lists of tuples, and quotes of its own.
_LOOSE: Final = str.maketrans({"(": "", ")": "", "[": "", "]": "", ",": "", " ": "", '"': "'"})
_REDACTOR: Final = Redactor()
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


_NOT_SENT: Final = Rendered(UNSET, False, None)
_NULL: Final = Rendered(Raw(b"null"), False, None)
_NOT_TOLD: Final = Arguments(None, None, UNSET, UNSET)
_NONE_GIVEN: Final = Arguments("()", "{}", _NO_ARGS, _NO_KWARGS)


class _Encoder(JSONEncoder):
    """kombu's encoder, with a plain string in place of each envelope."""

    def default(self, o: Any) -> Any:
        encodable = super().default(o)
        if isinstance(encodable, dict) and encodable.keys() == _ENVELOPE:
            inner = encodable["__value__"]
            return inner if isinstance(inner, str) else str(o)
        return encodable


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How values go into events: what of them is sent, up to which size, and what is masked.

    :param max_result: bytes of JSON that a result or the meta of a state may have.
    :param max_args: bytes of JSON that the arguments, positional and by keyword each, may have.
    :param send_args: whether arguments are sent at all, their texts included.
    :param send_results: whether results are sent at all.
    :param redactor: masks what looks secret.
    :param positions: position → name of the parameters of a task whose names look secret.
    :param hook: what the app itself wants masked; it comes first.
    """

    max_result: int = 16384
    max_args: int = 4096
    send_args: bool = True
    send_results: bool = True
    redactor: Redactor = _REDACTOR
    positions: tuple[tuple[int, str], ...] = ()
    hook: TaskHook | None = None

    @classmethod
    def of(cls, settings: Settings) -> Rendering:
        """What the settings say, for all tasks."""
        return cls(
            max_result=settings.max_result, max_args=settings.max_args, send_args=settings.send_args,
            send_results=settings.send_results, redactor=Redactor(settings.redact),
        )  # fmt: skip

    def result(self, value: Any) -> Rendered:
        """What a task returned."""
        if not self.send_results:
            return _NOT_SENT
        return _NULL if value is None and self.hook is None else self._rendered(value, "result")

    def meta(self, value: Any) -> Rendered:
        """What came with a state by ``update_state``."""
        return self._rendered(value, "meta")

    def arguments(self, args: Any, kwargs: Any, argsrepr: object, kwargsrepr: object) -> Arguments:
        """A task's arguments.

        :param argsrepr: the text that travels with the task's message, and ``kwargsrepr`` likewise; where there is none
            it is made from the value.
        """
        if not self.send_args:
            return _NOT_TOLD
        if not args and not kwargs and (argsrepr, kwargsrepr) == ("()", "{}") and self.hook is None:
            return _NONE_GIVEN  # as in many a task, in a fifth of the time
        first, whole = self._argument(args, self._by_position(args) if self.positions else args, argsrepr, "args")
        second, whole_kwargs = self._argument(kwargs, kwargs, kwargsrepr, "kwargs")
        return Arguments(first, second, whole, whole_kwargs)

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
        # Masked before they are cut, so that no part of a secret is left, and cut before that to what is looked at.
        message = self._text(message[:_MESSAGE_LOOKED_AT], cut=len(message) > _MESSAGE_LOOKED_AT)[:REPR_LIMIT]
        if traceback:
            last = _last_lines(traceback, 2 * TRACEBACK_LIMIT)
            traceback = clean(self._text(last, beheaded=len(last) < len(traceback))[-TRACEBACK_LIMIT:])
        return ExceptionInfo(type=name or type(error).__name__, message=clean(message), traceback=traceback or None)

    def stored(self, value: Any) -> bytes:
        """A result as JSON has it, whole and masked.

        :raises NotJson: it can't be written as JSON.
        """
        return self.redactor.json(json_text(self._hooked(value, "result")))

    def _rendered(self, value: Any, field: str) -> Rendered:
        if self.hook is not None:
            value = self._hooked(value, field)
        try:
            text = json_text(value)
        except NotJson:
            return Rendered(Raw(json_text(self._repr(value))), True, None)
        if len(text) > self.max_result:
            return Rendered(UNSET, False, len(text))
        return Rendered(Raw(self.redactor.json(text)), False, None)

    def _argument(self, value: Any, shown: Any, sender_repr: object, field: str) -> tuple[str, Raw | UnsetType]:
        """The text of arguments, and the JSON of those that may be shown as they are.

        :param shown: ``value`` without what is secret by its position.
        """
        if self.hook is not None:
            shown = self._hooked(shown, field)
        if shown is not value:
            return self._repr(shown), UNSET
        whole = self._whole(value)
        if not isinstance(sender_repr, str) or not sender_repr:
            return self._repr(value), whole
        # What may be shown whole is small and plain, and its text says no more than its JSON.
        text = sender_repr[:_LOOKED_AT]
        sent = tuple(value) if type(value) is list else value  # a tuple for its sender, and a list after its journey
        if whole is not UNSET and sender_repr == repr(sent):
            return clean(text[:REPR_LIMIT]), whole
        suspicious = self.redactor.suspects(text)
        if whole is UNSET and not suspicious:
            return clean((halves(text) if _is_cut(sender_repr) else text)[:REPR_LIMIT]), UNSET
        if _same(sender_repr, sent):
            return (self._repr(sent) if suspicious else clean(text[:REPR_LIMIT])), whole
        # The sender gave a text of its own, and so hides what the value is.
        return clean(self.redactor.text(text, cut=_is_cut(sender_repr))[:REPR_LIMIT]), UNSET

    def _by_position(self, args: Any) -> Any:
        """``args`` with what is secret by the name of its parameter masked; the same object where nothing is."""
        count = len(args)
        hidden = {at for at, name in self.positions if at < count and self.redactor.hides(name, args[at])}
        return tuple(HIDDEN if at in hidden else value for at, value in enumerate(args)) if hidden else args

    def _hooked(self, value: Any, field: str) -> Any:
        if self.hook is None:
            return value
        try:
            return self.hook(value, field)
        except SoftTimeLimitExceeded:
            raise
        except Exception:  # it is users' code; what it could not look at is not shown
            logger.exception("watcher: redact failed, so %s is not shown", field)
            return HIDDEN

    def _text(self, text: str, *, cut: bool = False, beheaded: bool = False) -> str:
        shown = self._hooked(text, "exception")
        return self.redactor.text(shown if isinstance(shown, str) else HIDDEN, cut=cut, beheaded=beheaded)

    def _repr(self, value: Any) -> str:
        text = short_repr(value, _LOOKED_AT)
        if self.redactor.suspects(text):
            text = short_repr(value, _LOOKED_AT, self.redactor.shown)
        return self.redactor.text(text, cut=len(text) >= _LOOKED_AT)[:REPR_LIMIT]

    def _whole(self, value: Any) -> Raw | UnsetType:
        if not value:
            return _NO_KWARGS if isinstance(value, dict) else _NO_ARGS
        try:
            text = json_text(value)
        except NotJson:
            return UNSET
        if len(text) > self.max_args or not _survives(value) or self.redactor.json(text) is not text:
            return UNSET
        return Raw(text)


def _last_lines(text: str, limit: int) -> str:
    """What of ``text`` is looked at, from the beginning of a line on: half a line may hold half a secret."""
    if len(text) <= limit:
        return text
    return text[text.find("\n", len(text) - limit) + 1 :] if "\n" in text[-limit:] else text[-limit:]


def _is_cut(text: str) -> bool:
    """Whether a text that came with a message may end in the middle."""
    return len(text) >= _CELERYS_REPR or text.rstrip(")]}'\", ").endswith("...")


def _same(text: str, value: Any) -> bool:
    """Whether ``text`` is the text that Celery itself makes of ``value``, or of what that was before its journey."""
    own = saferepr(value, _CELERYS_REPR)
    return text == own or text.translate(_LOOSE) == own.translate(_LOOSE)


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

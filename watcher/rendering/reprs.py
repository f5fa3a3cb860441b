"""A ``repr`` of bounded length, however large the value: pure.

Neither ``reprlib`` nor Celery's ``saferepr`` will do: the one bounds each level of nesting by itself, the other walks
through the rest of a value that it has cut. Of what isn't a built-in container its own ``__repr__`` is called, which
is users' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from celery.exceptions import SoftTimeLimitExceeded

__all__ = ["clean", "short_repr"]

#: Deeper than this, a value is shown as ``...``: far from where the interpreter's own stack ends.
_DEEPEST: Final = 100
#: What of a container is to be shown: itself, or a dict or a list in its place (watcher.core.redact.Redactor.shown).
Shown: TypeAlias = Callable[[Any], Any]
_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def clean(text: str) -> str:
    """``text`` with lone surrogates escaped, so that it can be sent as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def short_repr(value: Any, limit: int, shown: Shown | None = None) -> str:
    """The ``repr`` of ``value``, cut at ``limit`` characters, fit to be sent as UTF-8.

    Whatever users' code raises meanwhile ends here, but for a soft time limit, which is the task's to handle.

    :param shown: masks what is secret among the values of each container.
    """
    try:
        text = _repr(value, limit, (), shown)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 - __repr__ is users' code and may raise anything
        text = f"<unrepresentable {type(value).__name__}>"
    return clean(text[:limit])[:limit]


def _repr(value: Any, room: int, above: tuple[int, ...], shown: Shown | None) -> str:
    """The ``repr`` of ``value``, or its beginning of at least ``room`` characters.

    :param above: the identities of the containers that ``value`` is in.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return repr(value[:room])
    if kind not in _BRACKETS or (not value and kind in (set, frozenset)):
        return repr(value)
    before, after = _BRACKETS[kind]
    if len(above) >= _DEEPEST or id(value) in above:
        return f"{before}...{after}"
    pieces = [before]
    room -= len(before)
    for piece in _pieces(value, (*above, id(value)), room, shown):
        pieces.append(piece)
        room -= len(piece)
        if room <= 0:
            return "".join(pieces)
    return "".join((*pieces, "," if kind is tuple and len(value) == 1 else "", after))


def _pieces(container: Any, above: tuple[int, ...], room: int, shown: Shown | None) -> Iterator[str]:
    """What stands between the brackets, piece by piece."""
    pairs: Iterable[tuple[Any, str]]
    if shown is not None and type(container) in (dict, list, tuple):  # of what there is room for
        is_dict = type(container) is dict
        container = shown(dict(islice(container.items(), room)) if is_dict else container[: max(room, 0)])
    if type(container) is dict:
        pairs = chain.from_iterable(((key, ": "), (value, ", ")) for key, value in container.items())
    else:
        pairs = ((value, ", ") for value in container)
    separator = ""
    for value, next_separator in pairs:
        yield separator
        yield _repr(value, room, above, shown)
        separator = next_separator

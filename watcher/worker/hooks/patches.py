"""Has functions of ours called by Celery: by its signals, and in the place of functions of its own, which call those.

Celery promises none of these functions. Where one is missing, or is called in another way than in Celery 5.5 to 5.7, it
is left alone, and one line in the log says what is not told. They are listed in watcher/rendering/_celery.py.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from celery import signals

__all__ = ["follow", "hear", "wrap", "wrap_own", "wrapped_own"]

logger = logging.getLogger("watcher")


def _untold(what: str, missing: str) -> None:
    """Log that this version of Celery has something else where ``missing`` was, and what isn't told therefore."""
    version = getattr(import_module("celery"), "__version__", "?")
    logger.warning("watcher: %s are not told: Celery %s has no %s", what, version, missing)


def hear(name: str, handler: Callable[..., None], what: str) -> None:
    """Have ``handler`` called by the signal of that name; however often this is called, once.

    :param what: what isn't told without it, as the beginning of "… are not told".
    """
    signal: Any = getattr(signals, name, None)
    if signal is None:
        _untold(what, f"signal {name}")
    else:
        signal.connect(handler, weak=False, dispatch_uid=f"watcher:{handler.__name__}")


def wrap(path: str, wrapper: Callable[..., Any], what: str) -> None:
    """Put ``wrapper``, which is called with the original first, in the place of a function; once.

    :param path: ``MODULE:NAME`` or ``MODULE:CLASS.NAME``.
    :param what: what isn't told without it, as the beginning of "… are not told".
    """
    accepted = inspect.signature(wrapper)

    def make(original: Callable[..., Any], doubt: Callable[[Exception], None]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                accepted.bind(original, *args, **kwargs)
            except TypeError as error:
                doubt(error)
                return original(*args, **kwargs)
            return wrapper(original, *args, **kwargs)

        return wrapped

    _replace(path, make, what)


def follow(path: str, follower: Callable[..., None], what: str) -> None:
    """Call ``follower`` after each call of a function that doesn't raise, with the same arguments.

    :param path: as for :func:`wrap`, and so is ``what``.
    """

    def make(original: Callable[..., Any], doubt: Callable[[Exception], None]) -> Callable[..., Any]:
        @functools.wraps(original)
        def followed(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            try:
                follower(*args, **kwargs)
            except (TypeError, AttributeError) as error:
                doubt(error)
            return returned

        return followed

    _replace(path, make, what)


def wrap_own(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what ``make`` makes of a method in its place, of this one object; once."""
    if not hasattr(getattr(owner, name), "watcher_wrapped"):
        setattr(owner, name, _marked(getattr(owner, name), make))


@contextmanager
def wrapped_own(owner: Any, makes: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]]) -> Iterator[None]:
    """As :func:`wrap_own`, for several methods by name and for the duration of a block."""
    own = vars(owner)
    before = {name: own[name] for name in makes if name in own}
    own.update({name: _marked(getattr(owner, name), make) for name, make in makes.items()})
    try:
        yield
    finally:
        for name in makes:
            own.pop(name, None)
        own.update(before)


def _marked(original: Callable[..., Any], make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    wrapper: Any = functools.wraps(original)(make(original))
    wrapper.watcher_wrapped = True
    return wrapper


def _replace(path: str, make: Callable[..., Callable[..., Any]], what: str) -> None:
    module, _, name = path.partition(":")
    owner: Any = _module(module)
    *owners, name = name.split(".")
    for attribute in owners:
        owner = getattr(owner, attribute, None)
    original = getattr(owner, name, None)
    if callable(original):
        setattr(owner, name, make(original, _Doubt(what)))
    else:
        _untold(what, path.replace(":", "."))


class _Doubt:
    """Logs once that a function was called in an unknown way."""

    def __init__(self, what: str) -> None:
        self._what: str | None = what

    def __call__(self, error: Exception) -> None:
        what, self._what = self._what, None
        if what is not None:
            logger.warning("watcher: %s are not told: %s", what, error)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, AttributeError):  # it may lack what it imports itself
        return None

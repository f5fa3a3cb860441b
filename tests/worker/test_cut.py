"""What is shown in part is masked before it is cut: no part of a secret is left at the cut, wherever that falls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pytest
from celery.utils.saferepr import saferepr
from msgspec import UNSET, Raw

from tests.support.fakes import SHAPES, Fake
from watcher.core.event import REPR_LIMIT, TRACEBACK_LIMIT
from watcher.rendering.values import Rendering

RENDERING = Rendering()
#: Every position in a text that is cut after 1,024 characters, and some beyond.
POSITIONS = range(1101)
SEEN = 6


class Opaque:
    """An object that JSON doesn't know, with a ``repr`` of its own."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<{self.text}>"


def padded(at: int) -> str:
    return ("word " * (at // 5 + 1))[: max(at - 1, 0)] + " " * (at > 0)


def celerys(text: str) -> tuple[str, str]:
    """What Celery itself sends of arguments with this text in them."""
    return saferepr((text, 1), REPR_LIMIT), saferepr({"a": text}, REPR_LIMIT)


#: From a text to what an event has of a value with that text in it.
WAYS: Final[tuple[Callable[[str], Any], ...]] = (
    lambda text: RENDERING.arguments((text, 1), {"a": text}, None, None),
    lambda text: RENDERING.arguments([text, 1], {"a": text}, *celerys(text)),
    lambda text: RENDERING.arguments((), {}, *celerys(text)),
    lambda text: RENDERING.arguments(({1},), {"a": Opaque("")}, *celerys(text)),
    lambda text: RENDERING.arguments(({1},), {"a": Opaque("")}, text, text),
    lambda text: RENDERING.result({text}),
    lambda text: RENDERING.result([Opaque(text)]),
    lambda text: RENDERING.meta((text, {1})),
    lambda text: RENDERING.exception(ValueError(text), None),
)


def shown(event: Any) -> str:
    return " ".join(bytes(each).decode() if isinstance(each, Raw) else str(each) for each in event if each is not UNSET)


@cache
def runs(secret: str) -> frozenset[str]:
    """What of a secret is not to be seen. A repr escapes the ends of lines: each line is taken by itself."""
    return frozenset(line[at : at + SEEN] for line in secret.split("\n") for at in range(len(line) - SEEN + 1))


def leaks(fake: Fake, event: Any) -> bool:
    text = shown(event if isinstance(event, tuple) else (event.message, event.traceback or ""))
    return any(run in text for run in runs(fake.secret))


def test_no_part_of_a_secret_is_shown_wherever_the_text_is_cut() -> None:
    for at in POSITIONS:
        rounds, number = divmod(at, len(SHAPES))
        fake = SHAPES[number]
        ways = WAYS[rounds % 2 :: 2]  # half of them, and the others when it is this shape's turn again
        value = f"{padded(at)}{fake.text} and more {'word ' * 40}"
        for way in ways:
            event = way(value)
            assert not leaks(fake, event), (fake.name, at, WAYS.index(way), shown(event))


@pytest.mark.parametrize("fake", SHAPES, ids=lambda fake: fake.name)
def test_nor_where_a_traceback_or_a_long_message_is_cut(fake: Fake) -> None:
    for cut in (TRACEBACK_LIMIT, 2 * TRACEBACK_LIMIT):
        for at in range(0, 3000, 499):
            after = padded(cut - at) if at % 2 else "line of code\n" * ((cut - at) // 13)
            event = RENDERING.exception(ValueError(), f"line\n{padded(cut)} {fake.text} {after}")
            assert not leaks(fake, event), (fake.name, cut, at)
    for at in range(4 * REPR_LIMIT - 300, 4 * REPR_LIMIT, 29):
        text = f"password={'a' * 3900} "
        event = RENDERING.exception(ValueError(f"{text}{padded(at - len(text))}{fake.text}"), None)
        assert not leaks(fake, event), (fake.name, at)

"""Masks secrets before any part of a value leaves the process. Pure.

It works on what would leave: JSON text, the text of a ``repr``, a message, a traceback. One search (suspects.py)
decides whether a closer look is needed. Mostly it is not, so a value without secrets costs no more than that search.
Otherwise values below names that look secret (names.py) are masked whole; in texts, so is what follows such a name
(texts.py) and what has the shape of a secret (shapes.py). For texts this is the best that can be done, not a promise.

A text is masked before it is cut: a secret across the cut would be incomplete and not found. If a text arrived already
cut, what is open at the cut is masked too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from watcher.core.redact import names as rules
from watcher.core.redact import suspects
from watcher.core.redact.shapes import HIDDEN, halves, headless, mask
from watcher.core.redact.texts import NAMING, VALUED, hide_after_names, is_of_names, last_word

__all__ = ["HIDDEN", "NAMES", "Hook", "Redactor", "halves"]

#: Words that make a name look secret by default: see :mod:`watcher.core.redact.names`.
NAMES: Final = (*rules.ANYWHERE, *rules.ENDING, *rules.LAST)

#: A user's own masking: called with a value, the name of its task and what it is (``args``, ``kwargs``, ``result``,
#: ``meta``, ``exception``); returns what to show, the value itself where there is nothing to hide.
Hook: TypeAlias = Callable[[Any, str, str], Any]

#: Greatest nesting depth that is examined; anything deeper is hidden.
_DEEPEST: Final = 100
#: A name, as opposed to a sentence.
_NAME: Final = re.compile(r"[\w.\-]{1,80}+")


class Redactor:
    """Masks what looks secret by its name or by its shape.

    :param names: if :data:`NAMES` are among them, their rules apply. Any other of them makes a name secret that
        contains it, in any case, and with its words joined or not.
    """

    __slots__ = ("_by_rules", "_names", "_own", "_own_bytes", "_suspect", "_suspect_bytes")

    def __init__(self, names: Iterable[str] = NAMES) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._by_rules = self._names[: len(NAMES)] == NAMES
        own = suspects.user_names(self._names[len(NAMES) :] if self._by_rules else self._names)
        self._own = re.compile(own) if own else None
        self._own_bytes = re.compile(own.encode()) if own else None
        self._suspect, self._suspect_bytes = suspects.searches(names=self._by_rules)

    def also(self, names: Iterable[str]) -> Redactor:
        """A redactor that masks these names too."""
        return Redactor((*self._names, *names))

    def is_secret(self, key: object) -> bool:
        """Whether a name looks secret; a name is text, or bytes as in ASGI headers."""
        if isinstance(key, bytes):
            key = key.decode("latin-1")
        if not isinstance(key, str):
            return False
        if self._own is not None and self._own.search(key.lower()) is not None:
            return True
        return self._by_rules and rules.is_secret_name(key)

    def hides(self, key: object, value: object) -> bool:
        """Whether the value below a key must be masked. Empty values, and numbers of tokens, stay visible.

        :param key: name of a parameter, or key of a mapping.
        """
        if _is_nothing(value) or not self.is_secret(key):
            return False
        return not (isinstance(value, int | float) and rules.is_number_of(str(key), value))

    def json(self, text: bytes) -> bytes:
        """JSON text in UTF-8, masked; the same object if there is nothing to mask."""
        if b'"' not in text:
            return text
        lower = text.lower()
        match = self._suspect_bytes.search(lower)
        if match is None and (self._own_bytes is None or self._own_bytes.search(lower) is None):
            return text
        try:
            value = json.loads(text)
            masked = self.plain(value)
            if masked is value:
                return text
            return json.dumps(masked, ensure_ascii=False, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            return b'"%s"' % HIDDEN.encode()

    def plain(self, value: Any, depth: int = 0) -> Any:
        """A JSON value, masked; the same object if there is nothing to mask."""
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, dict | list):
            return value
        if depth > _DEEPEST:
            return HIDDEN
        visible: Any = self.shown(self.pair(value) if depth == 0 else value)
        if isinstance(value, dict):
            items = {self.text(key): self.plain(item, depth + 1) for key, item in visible.items()}
            same = visible is value and len(items) == len(value)
            return value if same and all(items.get(key) is item for key, item in value.items()) else items
        masked = [self.plain(item, depth + 1) for item in visible]
        same = visible is value and all(new is old for new, old in zip(masked, value, strict=True))
        return value if same else masked

    def shown(self, container: Any) -> Any:
        """A mapping or a sequence without the secrets among its own values: those below names that look secret.

        What is in them isn't looked at. The very same object where there is nothing to hide; else a dict or a list.

        :param container: a dict, list or tuple; anything else is returned as it is.
        """
        if isinstance(container, dict):
            hidden = {key for key, value in container.items() if self.hides(key, value)}
            hidden |= self._valued(container)
            masked = {key: HIDDEN if key in hidden else self._pair_at(key, item) for key, item in container.items()}
            return masked if any(masked[key] is not item for key, item in container.items()) else container
        if not isinstance(container, list | tuple):
            return container
        items = [self.pair(item) for item in container]
        for at, item in enumerate(container[:-1]):
            following = container[at + 1]
            if isinstance(item, str) and isinstance(following, str) and self._is_option(item):
                items[at + 1] = following if following.startswith("-") or not following else HIDDEN
        return items if any(new is not old for new, old in zip(items, container, strict=True)) else container

    def pair(self, value: Any) -> Any:
        """A pair of a name and a text, ``("password", "…")``, without the text; anything else as it is."""
        if not isinstance(value, list | tuple) or len(value) != 2:
            return value
        name, second = value
        if not isinstance(second, str | bytes) or not second or not self._is_name(name) or second == HIDDEN:
            return value
        if self._is_option(name) and second[:1] in ("-", b"-"):  # two options
            return value
        return [name, HIDDEN]

    def suspects(self, text: str) -> bool:
        """Whether a text may contain something to mask."""
        lower = text.lower()
        return self._suspect.search(lower) is not None or (
            self._own is not None and self._own.search(lower) is not None
        )

    def text(self, text: str, *, cut: bool = False, beheaded: bool = False) -> str:
        """A text for people, masked as well as can be: the very same object where there is nothing to hide.

        :param cut: whether its end is missing; then what may be the beginning of a secret is masked there.
        :param beheaded: whether its beginning is missing, likewise.
        """
        shown = headless(text) if beheaded else text
        if self.suspects(shown):
            shown = mask(shown)
            shown = hide_after_names(shown, self.is_secret, headers=self._by_rules)
        if cut:
            shown = halves(shown)
        return shown if shown != text else text

    def _pair_at(self, key: object, value: Any) -> Any:
        """What stands below a key: the same as :meth:`pair`, but where the key says that there are names in it."""
        return value if isinstance(key, str) and is_of_names(last_word(key)) else self.pair(value)

    def _is_name(self, name: object) -> bool:
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        return isinstance(text, str) and _NAME.fullmatch(text) is not None and self.is_secret(text)

    def _is_option(self, text: object) -> bool:
        return isinstance(text, str) and text.startswith("-") and self._is_name(text)

    def _valued(self, mapping: Mapping[Any, Any]) -> set[Any]:
        """The keys of the values of a name-value object whose name looks secret."""
        words = {key: last_word(key) for key in mapping if isinstance(key, str)}
        if not any(word in NAMING and self._is_name(mapping[key]) for key, word in words.items()):
            return set()
        return {key for key, word in words.items() if word in VALUED and not _is_nothing(mapping[key])}


def _is_nothing(value: object) -> bool:
    """Whether a value says no more than whether there is a secret."""
    return value is None or isinstance(value, bool) or (isinstance(value, str | bytes | list | dict) and not value)

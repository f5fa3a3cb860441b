"""What looks secret is masked before anything of a value leaves the process. Pure.

What is looked at is what would leave: JSON text, the text of a ``repr``, a message, a traceback. One search says
whether there is anything in it to look at closer, and mostly there is not: so a value that holds no secret costs no
more than that. Where there is, values below keys that look secret are masked whole, and in texts what follows such a
key, the password of a URL, bearer tokens, JWTs and private keys. In texts that is the best that can be done, and no
promise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

__all__ = ["HIDDEN", "NAMES", "Hook", "Redactor"]

#: What stands in the place of a secret.
HIDDEN: Final = "***"
#: Keys that contain one of these look secret, in whatever case, and whether or not their words are joined.
NAMES: Final = (
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "api_key", "access_key", "account_key",
    "private_key", "signing_key", "encryption_key", "authorization", "cookie", "credential", "session_id",
)  # fmt: skip

#: A user's own masking: called with a value, the name of its task and what it is (``args``, ``kwargs``, ``result``,
#: ``meta``, ``exception``); returns what to show, the value itself where there is nothing to hide.
Hook: TypeAlias = Callable[[Any, str, str], Any]

#: Deeper than this nothing is looked at, and so nothing is shown.
_DEEPEST: Final = 100
#: What is secret whatever it is called. The first is a search only, with its bound so that it takes linear time.
_SHAPES: Final = r"://[^\s/\"']{0,400}@|bearer |eyj[\w-]|private key-----"
_PASSWORD: Final = re.compile(r"(://[^\s/?#'\"<>@:]{0,200}):[^\s/'\"<>]{1,400}@")
_USER: Final = re.compile(r"(https?://)[^\s/?#'\"<>@:]{1,400}@", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(bearer) +[\w.~+/=-]{8,}", re.IGNORECASE)
_JWT: Final = re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*")
_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|$)", re.DOTALL
)
#: After a key: perhaps its quote and an annotation, then what separates it from its value, and the value, which may be
#: quoted, have escaped quotes, or be bare. What was cut off in the middle ends with the text.
_VALUE: Final = r"""
(?P<rest>[\w.\-]{0,40})
(?P<separator>
  (?:\\*["'])?\]?
  (?:\s{0,8}:\s{0,8}[A-Za-z_][\w.\[\]|,\ ]{0,60}?(?=\s{0,8}=))?
  \s{0,8}(?:=>|:=|!?={1,3}|:)\s{0,8}
)
(?:
  (?P<before>[bruf]{0,2}")(?:\\.|[^"\\])*(?P<after>"?)
| (?P<before1>[bruf]{0,2}')(?:\\.|[^'\\])*(?P<after1>'?)
| (?P<before2>\\+["']).*?(?P<after2>(?P=before2)|$)
| (?P<bracket>[\[({])
| (?P<bare>(?:(?:bearer|basic|digest|token)\s+)?[^\s,;&'"()\[\]{}<>\\]+)
)"""
#: A header's value is all of its line.
_HEADER: Final = re.compile(r"(\b(?:authorization|cookie)\s{0,8}:\s{0,8})(?=[^\s'\"\\*])[^\r\n'\"\\]+", re.IGNORECASE)
_BRACKET: Final = re.compile(r"[\[\](){}]")
#: Bare words that are no secret.
_HARMLESS: Final = frozenset(("None", "True", "False", "null", "true", "false", HIDDEN))


class Redactor:
    """Masks what looks secret by one list of names.

    :param names: of keys, such as :data:`NAMES`; a key that contains one looks secret.
    """

    __slots__ = ("_names", "_pairs", "_secret", "_suspect", "_suspect_bytes")

    def __init__(self, names: Iterable[str] = NAMES) -> None:
        self._names = tuple(dict.fromkeys(names))
        words = "|".join(map(_pattern, self._names))
        self._secret = re.compile(words) if words else None
        self._pairs = re.compile(f"(?P<key>{words}){_VALUE}", re.IGNORECASE | re.DOTALL | re.VERBOSE) if words else None
        # Of lower case only: a search that ignores case takes ten times as long.
        suspect = f"{words}|{_SHAPES}" if words else _SHAPES
        self._suspect = re.compile(suspect)
        self._suspect_bytes = re.compile(suspect.encode())

    def also(self, names: Iterable[str]) -> Redactor:
        """One that hides what these names say too."""
        return Redactor((*self._names, *names))

    def is_secret(self, key: object) -> bool:
        """Whether a key looks secret."""
        return self._secret is not None and isinstance(key, str) and self._secret.search(key.lower()) is not None

    def hides(self, key: object, value: object) -> bool:
        """Whether the value below a key is to be masked. That there is none may be known, and so may numbers of tokens.

        :param key: the name of a parameter, or a key of a mapping.
        """
        if value is None or isinstance(value, bool) or (isinstance(value, str | bytes | list | dict) and not value):
            return False
        if not self.is_secret(key):
            return False
        return not (isinstance(value, int | float) and str(key).lower().endswith("tokens"))

    def json(self, text: bytes) -> bytes:
        """JSON text in UTF-8, masked: the very same object where there is nothing to hide."""
        if b'"' not in text or self._suspect_bytes.search(text.lower()) is None:
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
        """A value as JSON has it, masked: the very same object where there is nothing to hide."""
        if isinstance(value, str):
            return self.text(value)
        if depth > _DEEPEST and isinstance(value, dict | list):
            return HIDDEN
        if isinstance(value, dict):
            shown = {
                key: HIDDEN if self.hides(key, each) else self.plain(each, depth + 1) for key, each in value.items()
            }
            return shown if any(shown[key] is not each for key, each in value.items()) else value
        if isinstance(value, list):
            items = [self.plain(each, depth + 1) for each in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def suspects(self, text: str) -> bool:
        """Whether there may be something to hide in a text."""
        return self._suspect.search(text.lower()) is not None

    def text(self, text: str) -> str:
        """A text for people, masked as well as can be: the very same object where there is nothing to hide."""
        if not self.suspects(text):
            return text
        shown = _PEM.sub(rf"\1{HIDDEN}\2", text)
        shown = _PASSWORD.sub(rf"\1:{HIDDEN}@", shown)
        shown = _USER.sub(rf"\1{HIDDEN}@", shown)
        if self._pairs is not None:
            shown = _HEADER.sub(rf"\1{HIDDEN}", shown)
            shown = "".join(_hidden(shown, self._pairs))
        shown = _BEARER.sub(rf"\1 {HIDDEN}", shown)
        shown = _JWT.sub(HIDDEN, shown)
        return shown if shown != text else text


def _pattern(name: str) -> str:
    """A name as a pattern of lower case, its words joined or not."""
    return r"[-_.\ ]?".join(map(re.escape, re.split(r"[-_. ]+", name.lower().strip("-_. "))))


def _hidden(text: str, pairs: re.Pattern[str]) -> Iterator[str]:
    """``text`` in pieces, with what follows secret keys masked."""
    at = 0
    while (found := pairs.search(text, at)) is not None:
        yield text[at : found.start()]
        at = found.end()
        if found["bracket"] is None:
            yield _hide(found)
            continue
        at = _closing(text, found.start("bracket"))
        empty = not text[found.end() : at - 1].strip()
        yield text[found.start() : at] if empty else f"{_head(found)}{HIDDEN}"
    yield text[at:]


def _closing(text: str, start: int) -> int:
    """Where what the bracket at ``start`` opens has ended; the end of the text where it doesn't."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[({" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _head(found: re.Match[str]) -> str:
    return f"{found['key']}{found['rest']}{found['separator']}"


def _hide(found: re.Match[str]) -> str:
    bare, head = found["bare"], _head(found)
    if bare is not None:
        count = bare.isdigit() and f"{found['key']}{found['rest']}".lower().endswith("tokens")
        return found[0] if count or bare in _HARMLESS else head + HIDDEN
    before = found["before"] or found["before1"] or found["before2"]
    after = found["after"] or found["after1"] or found["after2"] or ""
    empty = len(found[0]) == len(head) + len(before) + len(after)
    return found[0] if empty else f"{head}{before}{HIDDEN}{after}"

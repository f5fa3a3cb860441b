"""Values in a text that stand after a name that looks secret. Pure.

A text is what a ``repr`` makes, a message, a traceback, a command line: there is a name, then what separates it from
its value, then the value, which may be quoted, have escaped quotes, be in brackets, or be bare. Each of these is looked
at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from watcher.core.redact.names import is_number_of, words_of
from watcher.core.redact.shapes import HIDDEN

__all__ = ["NAMING", "VALUED", "hide_after_names", "is_of_names", "last_word"]

#: What a name-value object calls the name, and what it calls the value: the last words of its keys.
NAMING: Final = words_of(
    "name key field header param parameter variable var option setting property attribute attr id label k n"
)
VALUED: Final = words_of("value values val v content default old new")
#: What is said of some names, ``{"only": ["password", "email"]}``; besides these all plurals are.
_OF_NAMES: Final = frozenset(words_of("only exclude include select defer by order schema header missing except"))
_GIVEN_NAME: Final = re.compile(r"[bu]?\\*[\"']?([\w.\-]{2,80}+)")
#: Greatest distance between a name and its value, in characters.
_NEAR: Final = 300

_HEAD: Final = re.compile(
    r"""
(?<![\w.\-])(?:
  (?P<flag>--?[A-Za-z][\w.\-]*+)(?P<after_flag>\\*["']\s{0,8},\s{0,8}(?=[bruf]{0,2}\\*["'])|[ \t]{1,8}(?=[^\s\-<>|&;]))
| (?P<name>[\w.\-]++)
  (?:(?P<separator>
      (?:\\*["'])?[\])]?\s{0,8}(?:=>|:=|!?={1,3}|:)\s{0,8}|(?:%2[27])?%3[ADad](?:%2[027])?)
  | (?P<space>[ \t]{1,4}(?=["']))
  | (?P<comma>\\*["']\s{0,8},\s{0,8}(?=[bruf]{0,2}\\*["']))
  | (?P<element>>(?=[^<>\s])))
)""",
    re.VERBOSE,
)
_VALUE: Final = re.compile(
    r"""
  (?P<before3>[bruf]{0,2}(?P<quotes>"{3}|'{3})).*?(?P<after3>(?P=quotes)|$)
| (?P<before>[bruf]{0,2}")(?:\\.|[^"\\])*+(?P<after>"?)
| (?P<before1>[bruf]{0,2}')(?:\\.|[^'\\])*+(?P<after1>'?)
| (?P<before2>\\+["']).*?(?P<after2>(?P=before2)|$)
| (?P<bracket>[\[({])
| (?P<bare>(?:(?:bearer|basic|digest|token)\s{1,8})?[^\s,;&'"()\[\]{}<>\\]+)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
#: Between a parameter and its default; and between what may be another type and that.
_ANNOTATION: Final = re.compile(
    r"(?:str|bytes|bytearray|int|float|bool|dict|list|tuple|set|object|Any|Optional|Union|Annotated|Final|Secret\w*"
    r"|(?:typing|t|collections\.abc)\.\w+)\b[\w.\[\]|, ]{0,60}?\s{0,8}=\s{0,8}(?!=)"
)
_DEFAULT: Final = re.compile(r"\s{0,8}=\s{0,8}(?![=\s])")
#: In a command line, and in an element, a value goes on to what ends it there.
_ARGUMENT: Final = re.compile(r"[^\s'\"\\]+")
_CONTENT: Final = re.compile(r"[^<]+")
#: A header's value is all of its line.
_HEADER: Final = re.compile(r"((?:authorization|cookie)\s{0,8}:\s{0,8})(?=[^\s'\"\\*])[^\r\n'\"\\]+", re.IGNORECASE)
_BRACKET: Final = re.compile(r"[\[\](){}]")
#: Bare words that are no secret.
_HARMLESS: Final = frozenset(("None", "True", "False", "null", "true", "false", HIDDEN))
#: After these a value may stand without more than a space between, as in SQL.
_SPOKEN: Final = frozenset(("password", "passwd", "passphrase", "passcode", "pwd"))
#: The second words of names that are written as two.
_SECONDS: Final = ("key", "id", "string", "code", "phrase", "number", "answer", "word", "str")
_WORD_BEFORE: Final = re.compile(r"(?<![A-Za-z])[A-Za-z]{2,16} $")
_LAST_WORD: Final = re.compile(r"[A-Z]?[a-z]+$|[A-Z]+$")
_PAIRED: Final = re.compile(r"(?:[\[(,]\s{0,8}|^)[\[(][bu]?\\*[\"']$|^\([bu]?\\*[\"']$|\([bu]?\\*[\"']$")


class _Span(NamedTuple):
    """A part of a text that is replaced."""

    start: int
    end: int
    shown: str


def last_word(name: str) -> str:
    """The last word of a name, in lower case: ``key`` of ``ParameterKey``."""
    match = _LAST_WORD.search(name)
    return match[0].lower() if match is not None else ""


def is_of_names(word: str) -> bool:
    """Whether a list below a key that ends with this word may be one of names, and so no pair of a name and a text."""
    return word.endswith("s") or word in _OF_NAMES


def hide_after_names(text: str, is_secret: Callable[[str], bool], *, headers: bool) -> str:
    """``text`` with what stands after names that look secret masked.

    :param is_secret: whether a name does.
    :param headers: whether headers are looked for whose value is all of their line.
    """
    if headers:
        text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return "".join(_replaced(text, sorted(_spans(text, is_secret))))


def _replaced(text: str, spans: list[_Span]) -> Iterator[str]:
    at = 0
    for span in spans:
        if span.start >= at:
            yield text[at : span.start]
            yield span.shown
            at = span.end
    yield text[at:]


def _spans(text: str, is_secret: Callable[[str], bool]) -> Iterator[_Span]:
    hidden_to = 0
    pairs = _Pairs(text, is_secret)
    for head in _HEAD.finditer(text):
        if head.start() < hidden_to:
            continue
        span = None
        if _names_a_secret(text, head, is_secret):
            span = _value_after(text, head)
        elif head["separator"]:
            span = pairs.of(head)
        if span is not None:
            hidden_to = max(hidden_to, span.end)
            yield span


class _Pairs:
    """Names and values that stand apart, as in ``{'name': 'API_KEY', 'value': '…'}``, in either order."""

    def __init__(self, text: str, is_secret: Callable[[str], bool]) -> None:
        self._text = text
        self._is_secret = is_secret
        self._named: tuple[int, bool] | None = None
        self._value: re.Match[str] | None = None

    def of(self, head: re.Match[str]) -> _Span | None:
        """What is masked of the pair that is complete with ``head``."""
        word = last_word(head["name"])
        if word in NAMING:
            name = _GIVEN_NAME.match(self._text, head.end())
            secret = name is not None and self._is_secret(name[1])
            if secret and self._value is not None and self._near(self._value.end(), head.start()):
                value, self._value = self._value, None
                return _value_after(self._text, value)
            self._named, self._value = (head.end(), secret), None
        elif word in VALUED:
            named, self._named = self._named, None
            if named is None or not self._near(named[0], head.start()):
                self._value = head
            elif named[1]:
                self._named = (head.end(), True)  # a change has an old and a new one
                return _value_after(self._text, head)
        return None

    def _near(self, start: int, end: int) -> bool:
        return end - start <= _NEAR and not any(bracket in "{}<>" for bracket in self._text[start:end])


def _names_a_secret(text: str, head: re.Match[str], is_secret: Callable[[str], bool]) -> bool:
    if head["flag"]:
        return is_secret(head["flag"])
    name, start = head["name"], head.start()
    if head["space"] and last_word(name) not in _SPOKEN:
        return False
    if head["element"] and text[start - 1 : start] != "<":
        return False
    if head["comma"] and not _PAIRED.search(text[max(0, start - 16) : start]):
        return False
    if name[0] in "nrt" and text[start - 1 : start] == "\\" and not name.startswith("token"):
        name = name[1:]  # it stands after an escaped end of a line
    if is_secret(name):
        return True
    if not name.lower().endswith(_SECONDS):
        return False
    before = _WORD_BEFORE.search(text, max(0, start - 18), start)
    return before is not None and is_secret(before[0] + name)


def _value_after(text: str, head: re.Match[str]) -> _Span | None:
    """What is masked of the value that stands after a name; None where it is none, or no secret."""
    start = head.end()
    if head["separator"] and (annotation := _ANNOTATION.match(text, start)) is not None:
        start = annotation.end()
    if head["element"]:
        match = _CONTENT.match(text, start)
        return _Span(start, match.end(), HIDDEN) if match is not None else None
    value = _VALUE.match(text, start)
    if value is None:
        return None
    if value["bracket"] is not None:
        if head["flag"]:
            return None
        end = _closing(text, start)
        return _Span(start, end, HIDDEN) if text[start + 1 : end - 1].strip() else None
    if value["bare"] is not None:
        if head["flag"]:
            value = _ARGUMENT.match(text, start) or value
        bare = value[0]
        is_number = bare.isdigit() and head["name"] is not None and is_number_of(head["name"], int(bare[:20]))
        if is_number or bare in _HARMLESS:
            return None
        return _Span(start, _end_of_bare(text, value.end()) if head["separator"] else value.end(), HIDDEN)
    return _quoted(text, head, value)


def _end_of_bare(text: str, end: int) -> int:
    """Where a bare value ends: with the arguments of a call, and with the default where it is a type."""
    if text[end : end + 1] in ("(", "[", "{"):
        return _closing(text, end)
    default = _DEFAULT.match(text, end)
    further = _VALUE.match(text, default.end()) if default is not None else None
    if further is None:
        return end
    return _closing(text, further.start()) if further["bracket"] else further.end()


def _quoted(text: str, head: re.Match[str], value: re.Match[str]) -> _Span | None:
    before = value["before"] or value["before1"] or value["before2"] or value["before3"]
    after = value["after"] or value["after1"] or value["after2"] or value["after3"] or ""
    if len(value[0]) == len(before) + len(after):
        return None
    ends = value[0].removesuffix(after).endswith("...") or text[value.end() :][:4].lstrip(" ,").startswith((")", "]"))
    if head["comma"] and after and not ends:
        return None  # one of several strings, and no pair
    if head["flag"] and (value[0].removeprefix(before).startswith("-") or text[value.end() : value.end() + 1] == ":"):
        return None  # the next option, or the next key of a mapping
    return _Span(value.start(), value.end(), f"{before}{HIDDEN}{after}")


def _closing(text: str, start: int) -> int:
    """Where what the bracket at ``start`` opens has ended; the end of the text where it doesn't."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[({" else -1
        if depth == 0:
            return bracket.end()
    return len(text)

"""What stands behind a key in a filter: each kind of value with the test that it is, and its canonical text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Final, TypeAlias

from watcher.core.moments import Wall, utc_text

__all__ = [
    "BLANKS",
    "KEYED",
    "UNITS",
    "Absolute",
    "Ago",
    "Bound",
    "Clock",
    "Glob",
    "Kind",
    "Local",
    "Moment",
    "State",
    "Text",
    "Value",
    "duration_text",
    "folded",
    "quoted",
]

#: What separates terms: the blanks and line ends of Unicode, spelled out because languages differ in what they count.
BLANKS: Final = "\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
#: What begins with a key: letters and a colon, unless an address follows (``https://…``).
KEYED: Final = re.compile(r"([A-Za-z_]+):(?!//)")
#: Units of durations, in microseconds, the longest first.
UNITS: Final = {
    "w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000,
}  # fmt: skip
_TO_BE_QUOTED: Final = re.compile(f'[{BLANKS}"*]')
_SECONDS: Final = 1_000_000


def folded(text: str) -> str:
    """A text as free words are compared: in lower case by Unicode, a Greek sigma always the same.

    Python, JavaScript and, with what Python folded before it stored it, SQL have this alike. (Case folding proper, in
    which ``ß`` equals ``ss``, JavaScript has not.)
    """
    return text.lower().replace("ς", "σ")


def quoted(text: str) -> str:
    """A text in double quotes, in which it means itself."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bare(text: str) -> str:
    return quoted(text) if _TO_BE_QUOTED.search(text) else text


@dataclass(frozen=True, slots=True)
class Glob:
    """A text that a value equals, or a pattern of texts with anything between them.

    :param parts: what stands between the stars, of a pattern the first and the last may be empty; one part: the value.
    """

    parts: tuple[str, ...]

    @property
    def literal(self) -> str | None:
        """The one text that is meant; None for a pattern."""
        return self.parts[0] if len(self.parts) == 1 else None

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return "*".join(_bare(part) for part in self.parts)

    def matches(self, value: str) -> bool:
        """Whether it is what is meant. Takes time in proportion to both, whatever they are."""
        first, *middle = self.parts
        if not middle:
            return value == first
        last = middle.pop()
        if len(value) < len(first) + len(last) or not (value.startswith(first) and value.endswith(last)):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of state: one of :data:`~watcher.core.kinds.KINDS` or :data:`~watcher.core.kinds.WAITING_KINDS`."""

    name: str

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return self.name


@dataclass(frozen=True, slots=True)
class State:
    """A state by its name: one of Celery's in capitals, or a custom one.

    :param exact: a custom state as it is spelled only; else in capitals, too.
    """

    name: str
    exact: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a task's state may have: one or two."""
        capitals = self.name.upper()
        other = not self.exact and self.name.isascii() and capitals != self.name
        return (self.name, capitals) if other else (self.name,)

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return quoted(self.name) if self.exact else _bare(self.name)


@dataclass(frozen=True, slots=True)
class Ago:
    """So long before now, in microseconds."""

    duration: int

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return duration_text(self.duration)


@dataclass(frozen=True, slots=True)
class Clock:
    """The last moment at which the clock showed this."""

    hour: int
    minute: int
    second: int = 0

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return f"{self.hour:02}:{self.minute:02}" + (f":{self.second:02}" if self.second else "")


@dataclass(frozen=True, slots=True)
class Local:
    """A date, or a date and a time of day, in a zone that only who asks knows.

    :param day: the whole day is meant.
    """

    wall: Wall
    day: bool = False

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        written = utc_text(self.wall.at(UTC)).removesuffix("Z")
        return written[:10] if self.day else written


@dataclass(frozen=True, slots=True)
class Absolute:
    """A moment, in Unix microseconds."""

    moment: int

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return utc_text(self.moment)


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of a duration: ``>``, ``>=``, ``<`` or ``<=`` so many microseconds."""

    operator: str
    duration: int

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.duration / _SECONDS

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        return self.operator + duration_text(self.duration)

    def matches(self, seconds: float) -> bool:
        """Whether a duration in seconds is within it."""
        if self.operator == ">":
            return seconds > self.seconds
        if self.operator == ">=":
            return seconds >= self.seconds
        return seconds < self.seconds if self.operator == "<" else seconds <= self.seconds


@dataclass(frozen=True, slots=True)
class Text:
    """Words that are looked for in all that is shown of a task."""

    words: str

    @property
    def needle(self) -> str:
        """As it is compared with :func:`~watcher.core.filters.matching.searched`."""
        return folded(self.words)

    @property
    def text(self) -> str:
        """As it stands in a filter."""
        plain = not (self.words.startswith("-") or KEYED.match(self.words) or re.search(f'[{BLANKS}"]', self.words))
        return self.words if plain else quoted(self.words)


Moment: TypeAlias = Ago | Clock | Local | Absolute
Value: TypeAlias = Glob | Kind | State | Ago | Clock | Local | Absolute | Bound | Text


def duration_text(duration: int) -> str:
    """Microseconds in the largest unit of which they are a whole number: ``90m``, ``14d``, ``0.5ms``."""
    for unit, size in UNITS.items():
        if unit != "w" and duration and duration % size == 0:
            return f"{duration // size}{unit}"
    if not duration:
        return "0s"
    whole, rest = divmod(duration, UNITS["ms"])
    return f"{whole}.{rest:03}".rstrip("0") + "ms"

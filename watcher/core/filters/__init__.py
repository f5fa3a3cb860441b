"""The filter language: ``state:failed name:mail.* since:2h "free text"``; docs/filters.md describes it. Pure.

:func:`parse` makes a :class:`Filter` of a text or raises :class:`InvalidFilter`. :data:`KEYS` is the table of its keys.
"""

from watcher.core.filters.errors import InvalidFilter
from watcher.core.filters.filter import EVERYTHING, Filter, Group, Span, parse
from watcher.core.filters.keys import KEYS, Key
from watcher.core.filters.matching import error_names, parent_of, root_of, searched, worker_names
from watcher.core.filters.parsing import STATES
from watcher.core.filters.values import Absolute, Ago, Bound, Clock, Glob, Kind, Local, State, Text, Value, folded

__all__ = [
    "EVERYTHING",
    "KEYS",
    "STATES",
    "Absolute",
    "Ago",
    "Bound",
    "Clock",
    "Filter",
    "Glob",
    "Group",
    "InvalidFilter",
    "Key",
    "Kind",
    "Local",
    "Span",
    "State",
    "Text",
    "Value",
    "error_names",
    "folded",
    "parent_of",
    "parse",
    "root_of",
    "searched",
    "worker_names",
]

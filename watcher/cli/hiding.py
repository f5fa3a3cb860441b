"""Secrets that were given as options leave the command line, which every user of the machine can read."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence

from watcher.core.settings import masked

__all__ = ["hide", "without"]


def hide(given: Mapping[str, tuple[str, str | None]]) -> None:
    """Start this program anew, in this very process, with these options as variables; nothing where there are none.

    That is the one way that leaves nothing behind in ``ps``, on every system; until then, some tenths of a second, they
    can be read there, and longer in the shell's history.

    :param given: variable → the option that stands for it, and its value; None where it was not given.
    """
    secrets = {name: (option, value) for name, (option, value) in given.items() if value and _is_secret(option, value)}
    arguments = without(sys.orig_argv[1:], {option for option, _ in secrets.values()})
    if arguments != sys.orig_argv[1:]:  # else it is a program of somebody's that calls the command as a function
        sys.stdout.flush()
        sys.stderr.flush()
        variables = {name: value for name, (_, value) in secrets.items()}
        os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **variables})  # noqa: S606 - it is what runs already


def without(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """``arguments`` without these options and their values, given as ``--option value`` or ``--option=value``."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, separator, _ = argument.partition("=")
        if name not in options:
            kept.append(argument)
        elif not separator:
            next(rest, None)
    return kept


def _is_secret(option: str, value: str) -> bool:
    """Whether it has to be hidden; of a URL only one with a password."""
    return not option.endswith("-url") or masked(value) != value

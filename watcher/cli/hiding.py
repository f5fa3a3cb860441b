"""Move secrets from the command line, which every user of the machine can read, into environment variables."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence

from watcher.core.settings import masked

__all__ = ["hide", "without"]


def hide(options: Mapping[str, tuple[str, str | None]]) -> None:
    """Re-execute this process with secret options as environment variables; without any, do nothing.

    Only this removes them from ``ps`` on every system. They are visible there for some tenths of a second before, and
    stay in the shell's history.

    :param options: variable → its option, and the value given on the command line; None if it was not given.
    """
    secrets = {
        name: (option, value) for name, (option, value) in options.items() if value and _is_secret(option, value)
    }
    arguments = without(sys.orig_argv[1:], {option for option, _ in secrets.values()})
    if arguments != sys.orig_argv[1:]:  # unequal only as a program: not where other code calls the command
        sys.stdout.flush()
        sys.stderr.flush()
        variables = {name: value for name, (_, value) in secrets.items()}
        os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **variables})  # noqa: S606 - it is what runs already


def without(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """``arguments`` without these options and their values, in the forms ``--option value`` and ``--option=value``."""
    visible: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, separator, _ = argument.partition("=")
        if name not in options:
            visible.append(argument)
        elif not separator:
            next(rest, None)
    return visible


def _is_secret(option: str, value: str) -> bool:
    """Whether the value must be hidden; a URL only if it has a password."""
    return not option.endswith("-url") or masked(value) != value

"""What the commands that call a relay share: its address, the time-out, and the exit codes."""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import anyio
import click

from watcher.cli.exposed import exposed
from watcher.cli.hiding import hide
from watcher.cli.running import run
from watcher.cli.terminal.rendering import plain, say
from watcher.client import Relay, RelayRefused, RelayUnavailable, RelayUnreachable, TaskLost, connect
from watcher.client.tls import CA, CERT, KEY

__all__ = ["ExitWithMessage", "RelayCall", "call", "calling_options", "channel_of", "completed_by", "leave", "seconds"]

P = ParamSpec("P")
R = TypeVar("R")

FAILED: Final = 1
MISUSED: Final = 2
UNREACHABLE: Final = 3
REFUSED: Final = 4
TIMED_OUT: Final = 124
#: Longest time that an option takes: ten years, in seconds.
_LONGEST: Final = 10 * 365 * 86400

_NAMESPACES: Final = ("task:", "root:", "group:", "name:", "tag:")


class ExitWithMessage(Exception):
    """Ends the program with a line on standard error and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def seconds(least: float) -> Callable[[str | float], float]:
    """Type of an option: a number of seconds from ``least`` to ten years. click's own ranges accept NaN."""

    def convert(value: str | float) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not least <= number <= _LONGEST:
            raise click.BadParameter(f"{value!r} is not a number of seconds from {least:g} to {_LONGEST}")
        return number

    return convert


@dataclass(slots=True)
class RelayCall:
    """Address, token and time-out (seconds) of a call; ``interrupted`` is the signal that ended it, if one did."""

    url: str | None
    token: str | None
    timeout: float | None
    interrupted: signal.Signals | None = None


def calling_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add ``--url``, ``--token``, ``--timeout`` and the options of TLS."""
    for option in (
        _variable("--key", KEY, "Private key of --cert, if it is in a separate file."),
        _variable("--cert", CERT, "PEM file of the certificate to present to the relay, if it requires one."),
        _variable("--ca", CA, "PEM file of the authorities to trust instead of the system's."),
        click.option("--timeout", type=seconds(0.001), metavar="S",
                     help="Give up after this many seconds, with exit code 124; tasks keep running."),
        click.option("--token", metavar="TOKEN", help="Token, if the relay requires one.  [WATCHER_TOKEN]"),
        click.option("--url", metavar="URL", help="Address of the relay.  [WATCHER_URL; default: http://127.0.0.1:5556]"),
    ):  # fmt: skip
        command = option(command)
    return command


def _variable(option: str, variable: str, text: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """An option that sets an environment variable, which :func:`watcher.connect` reads."""

    def put(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            os.environ[variable] = value

    return click.option(option, metavar="FILE", expose_value=False, callback=put, help=f"{text}  [{variable}]")


def channel_of(name: str) -> str:
    """The channel that an argument means; a bare id means ``task:ID``.

    :raises click.BadParameter: the part before the colon is not a namespace; a misspelled one would else be waited for
        as a task's id.
    """
    if name == "tasks" or name.startswith(_NAMESPACES):
        return name
    namespace, colon, _ = name.partition(":")
    if colon:
        accepted = ", ".join(f"{prefix}…" for prefix in _NAMESPACES)
        wrong = f"{plain(name)!r}: no such channels as {plain(namespace)}:…; accepted are {accepted}, tasks"
        raise click.BadParameter(f"{wrong}, or a task's id (with a colon in it, task:{plain(name)})")
    return f"task:{name}"


def completed_by(name: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """What a shell offers for an argument: by this function of :mod:`watcher.cli.completing`, imported when it asks."""

    def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        offered: list[Any] = getattr(import_module("watcher.cli.completing"), name)(context, parameter, incomplete)
        return offered

    return completed


def call(options: RelayCall, main: Callable[[Relay], Awaitable[int]]) -> NoReturn:
    """Connect, run ``main``, and exit with the code that it returns.

    A signal sets ``options.interrupted`` and cancels ``main``.
    """
    hide({"WATCHER_TOKEN": ("--token", options.token)})
    logging.basicConfig(level=logging.WARNING, format="watcher: %(message)s", stream=sys.stderr)
    key, cert = os.environ.get(KEY), os.environ.get(CERT)
    for line in exposed(KEY if key else CERT, key or cert):  # without a separate key, the certificate's file has it
        say(plain(line))
    try:
        code = run(functools.partial(_main, options, main))
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except TimeoutError:
        leave(f"timed out after {options.timeout:g} s", TIMED_OUT)
    except ExitWithMessage as end:
        leave(str(end), end.code)
    except (RelayUnreachable, RelayUnavailable) as error:
        leave(str(error), UNREACHABLE)
    except (RelayRefused, TaskLost) as error:
        leave(str(error), REFUSED)
    except ValueError as error:
        leave(str(error), MISUSED)
    sys.exit(code)


async def _main(options: RelayCall, main: Callable[[Relay], Awaitable[int]]) -> int:
    code = 0
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:

            async def listen() -> None:
                async for number in signals:
                    options.interrupted = number
                    (working if relay is not None else group.cancel_scope).cancel()

            # Within the connection, which outlives it: a task may yet have to be revoked, or asked for.
            relay, working = None, anyio.CancelScope()
            group.start_soon(listen)
            with anyio.fail_after(options.timeout) as clock:
                async with connect(options.url, token=options.token) as relay:
                    working.deadline, clock.deadline = clock.deadline, math.inf
                    with working:
                        code = await main(relay)
                    if working.cancelled_caught and options.interrupted is None:
                        raise TimeoutError
            group.cancel_scope.cancel()
    return 128 + options.interrupted if options.interrupted else code


def leave(message: str, code: int) -> NoReturn:
    """Print the message and exit with this code."""
    say(plain(message))
    sys.exit(code)

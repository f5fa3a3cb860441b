"""What the commands share: an option per setting, loading the app, and exit codes of errors."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import click
from celery import Celery
from celery.app.utils import find_app

from watcher.cli.exposed import exposed_by_settings
from watcher.cli.hiding import hide
from watcher.core.errors import AppError, RedisUnreachable, SettingError, WatcherError
from watcher.core.permissions import keyring_of
from watcher.core.settings import SETTINGS, Setting, Settings, setting
from watcher.core.tokens import secret_in
from watcher.relay.security.claims_file import ClaimsFile
from watcher.relay.security.origins import insecure_bind_refused
from watcher.relay.security.tls import Certificate

__all__ = [
    "app_option",
    "configure_logging",
    "ending",
    "import_tasks",
    "load_app",
    "load_settings",
    "relay_options",
    "say",
    "say_once",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Settings that other users of the machine must not read.
_SECRETS: Final = ("secret", "more_secrets", "redis_url")
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

app_option = click.option(
    "-A", "--app", metavar="PROJ", help="The Celery app, as for celery -A: proj, proj.celery:app."
)


def relay_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add an option for each setting (passed under its field's name), `--insecure` and `--loglevel`."""
    level = click.Choice(_LEVELS, case_sensitive=False)
    command = click.option("-l", "--loglevel", type=level, default="info", help="Lowest level to log.")(command)
    insecure = "Listen on an address that other machines can reach, even without WATCHER_SECRET."
    command = click.option("--insecure", is_flag=True, help=insecure)(command)
    for entry in reversed(SETTINGS):
        command = _option(entry)(command)
    return command


def _option(entry: Setting) -> Callable[[Callable[P, R]], Callable[P, R]]:
    # Values stay text here: Settings reads them, whether they come from the command line or from the environment.
    if entry.default is None or entry.default == ():
        default = ""
    elif isinstance(entry.default, tuple):
        default = " ".join(entry.default)
    else:
        default = str(int(entry.default)) if isinstance(entry.default, bool) else str(entry.default)
    text = entry.meaning[0].upper() + entry.meaning[1:] + "."
    shown = f"[{entry.variable}{f'; default: {default}' if default else ''}]"
    return click.option(entry.option, entry.field, metavar="VALUE", help=f"{text}  {shown}")


def load_settings(options: Mapping[str, Any], *, insecure: bool) -> Settings:
    """Settings from the environment and these options.

    :raises SettingError: a value is not accepted, a file can't be used, or a relay that is open to all would listen on
        an address that other machines can reach.
    """
    loaded = Settings.load(os.environ, options)
    settings = _with_keys(loaded)
    hide({setting(name).variable: (setting(name).option, options.get(name)) for name in _SECRETS})
    Certificate.of(settings)
    ClaimsFile.of(settings)
    accepted = insecure_bind_refused(settings)
    if accepted is not None and not insecure:
        name = setting("host")
        raise SettingError(name.variable if options.get("host") is None else name.option, settings.host, accepted)
    for line in exposed_by_settings(loaded):
        say_once(line)
    return settings


def _with_keys(settings: Settings) -> Settings:
    """``settings`` with the secret and the public key read from their files, and checked."""
    if settings.secret_file is not None:
        if settings.secret is not None:
            name = setting("secret_file").variable
            raise SettingError(name, settings.secret_file, "set either this or WATCHER_SECRET")
        settings = dataclasses.replace(settings, secret=secret_in(settings.secret_file), secret_file=None)
    public_key = settings.public_key
    if public_key is not None and "-----BEGIN" not in public_key and not public_key.lstrip().startswith("{"):
        try:
            settings = dataclasses.replace(settings, public_key=Path(public_key).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SettingError(setting("public_key").variable, public_key, f"the file can't be read: {why}") from None
    keyring_of(settings)  # for what it raises
    return settings


def load_app(name: str) -> Celery:
    """The Celery app that `-A` names, with all its tasks registered.

    :raises AppError: there is none, or importing it fails; a message of one line.
    """
    with _importing(name):
        app: object = find_app(name)
    if not isinstance(app, Celery):
        raise AppError(f"{name!r} is a {type(app).__name__}, not a Celery app: name the app, as in -A proj.celery:app")
    import_tasks(app)
    return app


def import_tasks(app: Celery) -> None:
    """Import the modules that the app includes or discovers, as a worker does, so that it knows all its tasks.

    :raises AppError: importing one of them fails.
    """
    with _importing(str(app.main)):
        app.loader.import_default_modules()


@contextmanager
def _importing(name: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        if error.code in (None, 0):  # a signal, or a module that ran as a program
            raise
        raise AppError(f"the Celery app {name!r} can't be imported: it exits the program ({error})") from error
    except Exception as error:  # whatever a user's module raises when it is imported
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise AppError(f"the Celery app {name!r} can't be imported: {text}") from error


def configure_logging(level: str) -> None:
    """Log to standard error, with time, level and logger."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def say(text: str) -> None:
    """Print a line for the person at the terminal, on standard error."""
    click.echo(f"watcher: {text}", err=True)


@functools.cache
def say_once(text: str) -> None:
    """The same, once per process for each text."""
    say(text)


class _Ended(click.ClickException):
    """Ends the program with one line on standard error and the exit code of its class."""

    def show(self, file: Any = None) -> None:
        """Say the line on standard error."""
        click.echo(f"watcher: {self.format_message()}", err=True, file=file)


class _Failed(_Ended):
    exit_code = 1


class _Misused(_Ended):
    exit_code = 2


class _NoRedis(_Ended):
    exit_code = 3


@contextmanager
def ending() -> Iterator[None]:
    """Turn errors at the start of a program into one line and an exit code."""
    try:
        yield
    except RedisUnreachable as error:
        raise _NoRedis(str(error)) from error
    except (SettingError, AppError) as error:
        raise _Misused(str(error)) from error
    except WatcherError as error:
        raise _Failed(str(error)) from error

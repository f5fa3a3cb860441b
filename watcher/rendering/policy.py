"""What is shown of each task: by the settings, its own ``@app.task(watcher={…})``, and by the app's own hook."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from watcher.core.redact import Hook
from watcher.rendering.values import Rendering

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Policy"]

logger = logging.getLogger("watcher")

_ACCEPTED: Final = "a mapping with args (bool), results (bool) and redact (names of parameters and keys)"
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Policy:
    """How the values of each task of an app are rendered; found once for each task.

    :param app: None where there is none, and ``base`` all that is known.
    :param base: what holds for all of them.
    :param hook: what the app itself wants masked.
    """

    def __init__(self, app: Celery | None, base: Rendering, hook: Hook | None = None) -> None:
        self._app: Any = app  # celery-types know nothing of `finalized`
        self._base = base
        self._hook = hook
        self._renderings: dict[str, Rendering] = {}

    def of(self, name: str | None) -> Rendering:
        """How the values of a task are rendered; a task that the app doesn't have is rendered by the settings alone.

        :param name: None where it isn't known which task it is: then what any of them hides is hidden.
        """
        rendering = self._renderings.get(name or "")
        if rendering is not None:
            return rendering
        if self._app is None or (name is None and not self._app.finalized):
            return self._hooked(self._base, name or "")
        if name is None:
            return self._remember("", self._strictest())
        # `tasks` would finalize the app. A program that only sends may never do that, and a task that is being sent
        # is in this table all the same.
        task = (self._app.tasks if self._app.finalized else getattr(self._app, "_tasks", {})).get(name)
        if task is None:
            return self._hooked(self._base, name)
        return self._remember(name, _rendering(task, self._base))

    def _remember(self, name: str, rendering: Rendering) -> Rendering:
        hooked = self._renderings[name] = self._hooked(rendering, name)
        return hooked

    def _strictest(self) -> Rendering:
        with_options = [(_options(task), task) for task in self._app.tasks.values()]
        names = [name for options, _ in with_options for name in options.get("redact", ())]
        return dataclasses.replace(
            self._base,
            send_args=self._base.send_args and all(options.get("args", True) for options, _ in with_options),
            send_results=self._base.send_results and all(options.get("results", True) for options, _ in with_options),
            redactor=self._base.redactor.also(names) if names else self._base.redactor,
        )

    def _hooked(self, rendering: Rendering, name: str) -> Rendering:
        if self._hook is None:
            return rendering
        return dataclasses.replace(rendering, hook=functools.partial(_call, self._hook, name))


def _call(hook: Hook, name: str, value: Any, field: str) -> Any:
    return hook(value, name, field)


def _rendering(task: Any, base: Rendering) -> Rendering:
    options = _options(task)
    redactor = base.redactor.also(options["redact"]) if options.get("redact") else base.redactor
    return dataclasses.replace(
        base,
        send_args=base.send_args and options.get("args", True),
        send_results=base.send_results and options.get("results", True),
        redactor=redactor,
        positions=tuple((at, name) for at, name in enumerate(_parameters(task)) if redactor.is_secret(name)),
    )


def _options(task: Any) -> Mapping[str, Any]:
    """A task's own options, ``watcher={…}``; where they are wrong, nothing of the task is shown."""
    options = getattr(task, "watcher", None)
    if options is None:
        return {}
    if isinstance(options, Mapping) and options.keys() <= {"args", "results", "redact"}:
        names = options.get("redact", ())
        switches = (options.get("args", True), options.get("results", True))
        if _are_names(names) and all(isinstance(switch, bool) for switch in switches):
            return options
    logger.error("watcher: task %s: watcher=%r is not accepted, so nothing is shown: %s", task.name, options, _ACCEPTED)
    return {"args": False, "results": False}


def _are_names(names: Any) -> bool:
    is_list = isinstance(names, Iterable) and not isinstance(names, str | bytes)
    return is_list and all(isinstance(name, str) and name.strip("-_. ") for name in names)


def _parameters(task: Any) -> list[str]:
    """The names of the parameters that may be given by position."""
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError, NameError):  # built-ins have none; annotations may name what doesn't exist
        return []
    return [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]

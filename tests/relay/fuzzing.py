"""Hooks for schemathesis: what it makes up is led to the tasks that there are, and never waits long."""

from __future__ import annotations

import re
from typing import Any

import schemathesis

TASKS = ("tasks.add", "tasks.text", "tasks.expiring")
ARGUMENTS = {"tasks.add": [1, 2.5], "tasks.text": ["x"], "tasks.expiring": []}
IDS = ("done", "running", "failed")


def _chosen(value: object, among: tuple[str, ...]) -> str | None:
    """One of them for every second value that was made up, always the same for the same."""
    number = sum(repr(value).encode())
    return among[number // 2 % len(among)] if number % 2 else None


def _are_channels(value: object) -> bool:
    """Whether they may stay as they are: what is wrong with them is what the relay is to find."""
    given = value if isinstance(value, list) else [value]
    return all(
        isinstance(each, str) and re.fullmatch(r"tasks|overview|(task|root|group|name|tag):\S{1,200}", each)
        for each in given
    )


@schemathesis.hook
def map_query(_context: schemathesis.HookContext, query: Any) -> Any:
    if isinstance(query, dict) and isinstance(query.get("wait"), int | float):
        query["wait"] = min(0.1, query["wait"])
    if isinstance(query, dict) and _are_channels(query.get("channel")) and (chosen := _chosen(query, IDS)):
        query["channel"] = f"task:{chosen}"  # whose last event comes at once
    return query


@schemathesis.hook
def map_headers(_context: schemathesis.HookContext, headers: Any) -> Any:
    if isinstance(headers, dict) and "Prefer" in headers:
        headers["Prefer"] = "wait=0"
    return headers


@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, parameters: Any) -> Any:
    if isinstance(parameters, dict) and (chosen := _chosen(parameters, IDS)):
        parameters["id"] = chosen
    return parameters


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    if isinstance(body, dict) and isinstance(body.get("task"), str) and (chosen := _chosen(body, TASKS)):
        body |= {"task": chosen, "args": ARGUMENTS[chosen], "kwargs": {}}
    return body

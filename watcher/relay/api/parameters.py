"""What lists and numbers are asked for with: the parameters of a query string, or those of a call, alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from watcher.core.errors import BadRequest
from watcher.core.suggestions import state_meant
from watcher.relay.api.schemas import QueryParameter

__all__ = ["Parameters", "called", "read"]

Table: TypeAlias = Mapping[str, QueryParameter]


class Parameters:
    """Parameters that were given, each as its table says."""

    def __init__(self, values: Mapping[str, list[str]], table: Table) -> None:
        self._values = values
        self._table = table

    def all(self, name: str) -> list[str]:
        """Each value of one that may be repeated."""
        return self._values.get(name, [])

    def text(self, name: str) -> str | None:
        """The value of one; None where it has neither a value nor a default."""
        values = self._values.get(name)
        default: str | None = self._table[name].schema.get("default")
        return values[0] if values else default

    def number(self, name: str) -> int:
        """The value of one that has a default."""
        values = self._values.get(name)
        return int(values[0] if values else self._table[name].schema["default"])


def read(parameters: Iterable[tuple[str, str]], table: Table) -> Parameters:
    """Those of a query string.

    :raises BadRequest: one is not accepted; the message names it, and what is accepted.
    """
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in table:
            raise BadRequest(f"parameter {name[:80]!r}: is unknown; accepted are {', '.join(table)}")
        most = table[name].repeated
        given = values.setdefault(name, [])
        if len(given) == most:
            raise BadRequest(f"parameter {name!r}: may be given {'once' if most == 1 else f'{most} times at most'}")
        given.append(_checked(name, value, table[name]))
    return Parameters(values, table)


def called(data: bytes, table: Table) -> Parameters:
    """Those of a call: an object with texts, numbers, and lists of them where one may have several values.

    :raises BadRequest: as :func:`read`.
    """
    try:
        given = msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"expected an object with some of {', '.join(table)}: {error}") from None
    return read(_pairs(given), table)


def _pairs(given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in given.items():
        if value is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, str | int) or isinstance(each, bool):
                raise BadRequest(f"parameter {name[:80]!r}: must be a text or a whole number")
            yield name, str(each)


def _checked(name: str, value: str, parameter: QueryParameter) -> str:
    schema = parameter.schema
    if schema["type"] == "integer":
        _check_number(name, value, schema["minimum"], schema["maximum"])
        return value
    if not value and schema.get("minLength"):
        raise BadRequest(f"parameter {name!r}: must not be empty")
    if len(value) > schema.get("maxLength", len(value)):
        raise BadRequest(f"parameter {name!r}: may have {schema['maxLength']} characters at most")
    if value not in schema.get("enum", (value,)):
        raise BadRequest(f"parameter {name!r}: must be one of {', '.join(schema['enum'])}, not {value[:80]!r}")
    if "pattern" in schema and re.fullmatch(schema["pattern"], value) is None:
        raise BadRequest(f"parameter {name!r}: must be {parameter.expected}, not {value[:80]!r}")
    if name == "state" and (meant := state_meant(value)) is not None:
        own = "custom states are accepted as they are spelled, unless they look like one of Celery's"
        raise BadRequest(f"parameter 'state': no such state {value[:80]!r}, did you mean {meant}? ({own})")
    return value


def _check_number(name: str, text: str, least: int, most: int) -> None:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(f"parameter {name!r}: must be a whole number from {least} to {most}, not {text[:80]!r}")

"""The user that an identity proxy names, and the permissions of users and groups. Pure.

The proxy has authenticated the user and names them in a header (``WATCHER_AUTH_HEADER``). Anybody can write that
header, so only trusted proxies are believed. A file of the relay's own holds the permissions.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from watcher.core.errors import SettingError, Unauthorized
from watcher.core.permissions import Grant
from watcher.core.settings import Settings, setting
from watcher.relay.security.forwarded import Lines, Peer

__all__ = ["IdentityPolicy", "Person", "check", "person"]

_GLOBS: Final = {"watch": "globs of channels", "submit": "globs of task names", "queues": "globs of queues"}
_TABLES: Final = ("users", "groups")
_SHOWN: Final = 80
#: White space around a header's value (RFC 9110, 5.6.3). Any other white space belongs to the name: "alice" after a
#: no-break space is another user.
_BLANKS: Final = " \t"


class _Misread(ValueError):
    """The file is invalid; the message names the key and what is accepted."""


class Person(NamedTuple):
    """A user whom a proxy has authenticated."""

    name: str
    groups: tuple[str, ...] = ()


def person(settings: Settings, peer: Peer, lines: Lines) -> Person | None:
    """The user that the proxy names; None if no trusted proxy names one.

    :param lines: the request's headers.
    :raises Unauthorized: the header is repeated, as when the proxy passes on what a client wrote, or is not text.
    """
    if settings.auth_header is None or not peer.proxied:
        return None
    name = _only(settings.auth_header, lines).strip(_BLANKS)
    header = settings.auth_groups_header
    listed = _only(header, lines).split(",") if header is not None else []
    if not name:
        return None
    return Person(name, tuple(group for part in listed if (group := part.strip(_BLANKS))))


def _only(header: str, lines: Lines) -> str:
    """The text of a header that occurs at most once."""
    values = lines(header)
    if len(values) > 1:
        raise Unauthorized(f"more than one {header} header: the proxy must overwrite the one that clients send")
    return _text(header, values[0]) if values else ""


def _text(header: str, value: str) -> str:
    """A header's value as text: HTTP servers hand over bytes as Latin-1 or escaped, proxies write UTF-8."""
    try:
        written = value.encode("latin-1")
    except UnicodeEncodeError:
        written = value.encode("ascii", "surrogateescape")
    try:
        return written.decode()
    except UnicodeDecodeError:
        raise Unauthorized(f"{header} is not in UTF-8") from None


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """The permissions of users.

    :param users: claims by user name.
    :param groups: claims by group name.
    :param default: claims of everyone else; None: they may do nothing.
    """

    users: Mapping[str, Grant] = field(default_factory=dict)
    groups: Mapping[str, Grant] = field(default_factory=dict)
    default: Grant | None = None

    @classmethod
    def read(cls, text: str, *, as_json: bool = False) -> IdentityPolicy:
        """Read the table from TOML or JSON; docs/operating.md shows one.

        :raises ValueError: it can't be parsed or is invalid; the message names the key and what is accepted.
        """
        table = _parsed(text, as_json=as_json)
        for key in table:
            if key not in (*_TABLES, "default"):
                raise _Misread(f"{_shown(key)} is not one of users, groups and default")
        named = {kind: _named(kind, table.get(kind, {})) for kind in _TABLES}
        default = _rights("default", table["default"]) if "default" in table else None
        if not any(named.values()) and default is None:
            raise _Misread("it is empty: it needs users, groups or default")
        return cls(named["users"], named["groups"], default)

    def grant(self, person: Person) -> Grant:
        """What a user may do: the permissions of the user and of all their groups together."""
        grants = [self.users[person.name]] if person.name in self.users else []
        grants += [self.groups[group] for group in dict.fromkeys(person.groups) if group in self.groups]
        if not grants and self.default is not None:
            grants = [self.default]
        return Grant(
            subject=person.name,
            watch=tuple(dict.fromkeys(glob for granted in grants for glob in granted.watch)),
            submit=tuple(dict.fromkeys(glob for granted in grants for glob in granted.submit)),
            revoke=any(granted.revoke for granted in grants),
            queues=tuple(dict.fromkeys(glob for granted in grants for glob in granted.queues)),
        )


def _parsed(text: str, *, as_json: bool) -> dict[str, Any]:
    try:
        table = json.loads(text, object_pairs_hook=_once) if as_json else tomllib.loads(text)
    except RecursionError:
        raise _Misread("it is nested too deeply") from None
    if not isinstance(table, dict):
        raise _Misread('expected an object: {"users": …, "groups": …, "default": …}')
    return table


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names; the second would silently win."""
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise _Misread(f"{_shown(twice)} is duplicated")
    return table


def _named(kind: str, table: object) -> dict[str, Grant]:
    if not isinstance(table, dict):
        raise _Misread(f"{kind} must hold a table for each name, not {_shown(table)}")
    return {name: _rights(f"{kind}.{_shown(name)}", entry) for name, entry in table.items()}


def _rights(where: str, entry: object) -> Grant:
    if not isinstance(entry, dict):
        raise _Misread(f"{where} must be a table of watch, submit, queues and revoke, not {_shown(entry)}")
    for claim, value in entry.items():
        if claim in _GLOBS:
            if not isinstance(value, list) or not all(isinstance(glob, str) for glob in value):
                raise _Misread(f"{where}.{claim} must be a list of {_GLOBS[claim]}, not {_shown(value)}")
        elif claim != "revoke":
            raise _Misread(f"{where}.{_shown(claim)} is not a claim: claims are watch, submit, queues and revoke")
        elif not isinstance(value, bool):
            raise _Misread(f"{where}.revoke must be true or false, not {_shown(value)}")
    return Grant(
        watch=tuple(entry.get("watch", ())), submit=tuple(entry.get("submit", ())), revoke=entry.get("revoke", False),
        queues=tuple(entry.get("queues", ())),
    )  # fmt: skip


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check(settings: Settings) -> None:
    """Check that the settings about users fit together.

    :raises SettingError: one is missing, or a combination is unsafe.
    """
    header, claims = setting("auth_header"), setting("claims")
    if settings.auth_header is None:
        for needing in (claims, setting("auth_groups_header")):
            if getattr(settings, needing.field) is not None:
                needed = f"set {header.variable} too, the header that names the user"
                raise SettingError(needing.variable, getattr(settings, needing.field), needed)
        return
    if not settings.trusted_proxies:
        needed = f"set {setting('trusted_proxies').variable} too, the proxies that may send it"
        raise SettingError(header.variable, settings.auth_header, needed)
    if settings.claims is None:
        needed = f"set {claims.variable} too, the file of permissions"
        raise SettingError(header.variable, settings.auth_header, needed)
    if "*" in settings.origins:
        accepted = (
            f"name the origins when {header.variable} is set: with * any page could act for the user who opens it"
        )
        raise SettingError(setting("origins").variable, " ".join(settings.origins), accepted)

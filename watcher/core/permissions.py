"""Permissions: what the claims of a token grant.

Pure decisions. Every entrance (WebSocket, HTTP) asks a :class:`Grant`. What no claim grants is denied.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from watcher.core.errors import NoToken
from watcher.core.event import OVERVIEW
from watcher.core.settings import LEEWAY, Settings

if TYPE_CHECKING:
    from watcher.core.keyring import Keyring

__all__ = ["END_OF_TIME", "OPEN", "Grant", "grant", "issue", "keyring_of", "literally"]

#: Bound of times in tokens, Unix seconds: whole numbers below 2^53 are exact in every program.
END_OF_TIME: Final = 2**53

#: Globs that mean every channel.
_ALL: Final = ("*", "tasks")


@dataclass(frozen=True, slots=True)
class Grant:
    """The permissions of one client.

    :param subject: the token's ``sub``; empty if there is none.
    :param watch: globs of channels.
    :param submit: globs of task names.
    :param revoke: whether tasks may be revoked.
    :param queues: globs of queues that a submission may name even if they are unknown.
    :param expires: the token's ``exp``, Unix seconds; None for an open relay.
    """

    subject: str = ""
    watch: tuple[str, ...] = ()
    submit: tuple[str, ...] = ()
    revoke: bool = False
    expires: float | None = None
    queues: tuple[str, ...] = ()

    @property
    def ends(self) -> float | None:
        """When the token is no longer accepted, Unix seconds: later than ``exp``, since clocks may differ a little."""
        return None if self.expires is None else self.expires + LEEWAY

    def may_watch(self, channel: str) -> bool:
        """Whether ``channel`` may be subscribed to. A client that may watch ``tasks`` sees everything anyway.

        The overview tells of all tasks, so it is for such a client only.
        """
        channel = "tasks" if channel == OVERVIEW else channel
        return any(glob in _ALL or fnmatchcase(channel, glob) for glob in self.watch)

    def may_see(self, channels: Iterable[str]) -> bool:
        """Whether an event or task on these ``channels`` may be seen: one of them suffices."""
        return any(self.may_watch(channel) for channel in channels)

    def may_submit(self, name: str) -> bool:
        """Whether tasks of this name may be submitted."""
        return any(fnmatchcase(name, glob) for glob in self.submit)


#: The permissions of everyone at an open relay.
OPEN: Final = Grant(watch=("*",), submit=("*",), revoke=True)


def keyring_of(settings: Settings) -> Keyring | None:
    """The keyring of a relay with these settings, as :meth:`watcher.core.keyring.Keyring.of`."""
    if not settings.guarded:
        return None
    from watcher.core.keyring import Keyring  # noqa: PLC0415 - it loads megabytes that only a relay with keys needs

    return Keyring.of(settings)


def grant(token: str | None, keyring: Keyring | None) -> Grant:
    """The permissions that ``token`` grants.

    :param keyring: the relay's; None means an open relay, where tokens are ignored.
    :raises watcher.core.errors.TokenExpired: the token has expired.
    :raises NoToken: the token is missing.
    :raises watcher.core.errors.Unauthorized: the token is invalid.
    """
    if keyring is None:
        return OPEN
    if not token:
        raise NoToken("a token is required")
    claims = keyring.read(token)
    return Grant(
        subject=str(claims.get("sub", "")),
        watch=_globs(claims, "watch"),
        submit=_globs(claims, "submit"),
        revoke=claims.get("revoke") is True,
        expires=float(claims["exp"]),
        queues=_globs(claims, "queues"),
    )


def issue(
    secret: str,
    *,
    ttl: float = 900,
    subject: str = "",
    watch: Iterable[str] = (),
    submit: Iterable[str] = (),
    revoke: bool = False,
    queues: Iterable[str] = (),
    audience: str = "",
    issuer: str = "",
    until: float | None = None,
) -> str:
    """A signed token.

    :param ttl: lifetime in seconds.
    :param until: latest expiry, Unix seconds; None: ``ttl`` alone decides.
    :raises ValueError: the expiry would be too large for a number (2^53), or ``ttl`` is not a number of seconds.
    """
    from watcher.core.keyring import signed  # noqa: PLC0415 - it loads megabytes that only signing needs

    end = time.time() + ttl
    if not end < END_OF_TIME:
        raise ValueError(f"ttl={ttl!r}: seconds up to the year 285 million are accepted")
    claims: dict[str, Any] = {"exp": math.floor(end if until is None else min(end, until))}
    claims |= {name: text for name, text in (("sub", subject), ("aud", audience), ("iss", issuer)) if text}
    claims |= {name: list(globs) for name, globs in (("watch", watch), ("submit", submit), ("queues", queues)) if globs}
    if revoke:
        claims["revoke"] = True
    return signed(claims, secret)


def literally(name: str) -> str:
    """A glob that matches only this channel or task: an id may contain any characters."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _globs(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, ())
    if not isinstance(value, list) or not all(isinstance(glob, str) for glob in value):
        return ()
    return tuple(value)

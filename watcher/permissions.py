"""Who may do what: tokens (JWT, RFC 7519) and the permissions that their claims grant.

Pure decisions. The doors (socket, HTTP) ask a :class:`Grant`, and what no claim grants is denied.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import jwt

from watcher.errors import Unauthorized

__all__ = ["OPEN", "Grant", "TokenExpired", "grant", "issue"]

_ALGORITHM: Final = "HS256"
#: Clocks of issuer and relay may differ by this much, in seconds.
_LEEWAY: Final = 5


class TokenExpired(Unauthorized):
    """The token was valid once; its holder should get a new one."""

    code = 109


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of one token may do.

    :param subject: the token's ``sub``; empty where there is none.
    :param watch: globs of channels; ``submit``: globs of task names; ``revoke``: whether tasks may be revoked.
    :param expires: Unix seconds at which it ends; None for an open relay.
    """

    subject: str = ""
    watch: tuple[str, ...] = ()
    submit: tuple[str, ...] = ()
    revoke: bool = False
    expires: float | None = None

    def may_watch(self, channel: str) -> bool:
        """Whether ``channel`` may be subscribed to. Whoever may watch ``tasks`` sees everything anyway."""
        return any(glob == "tasks" or fnmatchcase(channel, glob) for glob in self.watch)

    def may_see(self, channels: Iterable[str]) -> bool:
        """Whether an event or task that is carried by ``channels`` may be seen: one of them suffices."""
        return any(self.may_watch(channel) for channel in channels)

    def may_submit(self, name: str) -> bool:
        """Whether tasks of this name may be submitted."""
        return any(fnmatchcase(name, glob) for glob in self.submit)


#: What everyone may do at a relay without a secret.
OPEN: Final = Grant(watch=("*",), submit=("*",), revoke=True)


def grant(token: str | None, secret: str | None) -> Grant:
    """The permissions that ``token`` grants.

    :param secret: the relay's; None means an open relay, where a token is not even looked at.
    :raises TokenExpired: its time is over.
    :raises Unauthorized: there is none, or it isn't valid.
    """
    if secret is None:
        return OPEN
    if not token:
        raise Unauthorized("a token is needed")
    try:
        claims = jwt.decode(token, secret, algorithms=[_ALGORITHM], leeway=_LEEWAY, options={"require": ["exp"]})
    except jwt.ExpiredSignatureError:
        raise TokenExpired("the token has expired") from None
    except jwt.InvalidTokenError as error:
        raise Unauthorized(f"the token is not valid: {error}") from None
    return Grant(
        subject=str(claims.get("sub", "")),
        watch=_globs(claims, "watch"),
        submit=_globs(claims, "submit"),
        revoke=claims.get("revoke") is True,
        expires=float(claims["exp"]),
    )


def issue(
    secret: str,
    *,
    ttl: float = 900,
    subject: str = "",
    watch: Iterable[str] = (),
    submit: Iterable[str] = (),
    revoke: bool = False,
) -> str:
    """A signed token.

    :param ttl: how long it is valid, in seconds.
    """
    claims: dict[str, Any] = {"exp": int(time.time() + ttl)}
    if subject:
        claims["sub"] = subject
    claims |= {name: list(globs) for name, globs in (("watch", watch), ("submit", submit)) if globs}
    if revoke:
        claims["revoke"] = True
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def _globs(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, ())
    if not isinstance(value, list) or not all(isinstance(glob, str) for glob in value):
        return ()
    return tuple(value)

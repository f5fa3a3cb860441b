"""What a client is told of a server behind the relay that fails, and what the log is told.

Errors of Redis, of a broker and of the drivers name addresses, users, keys, and lines of scripts: that is for whoever
runs the relay. A client learns which server it is, and why in words of ours.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final, Literal

from watcher.core.errors import Unavailable
from watcher.relay.common.audit_log import LineBudget

__all__ = ["causes", "unavailable", "why"]

logger = logging.getLogger(__name__)

#: What Redis' errors begin with, as far as they are worth telling apart. A script's error has it in its middle.
_CODES: Final = {
    "BUSY": "a script is running",
    "CLUSTERDOWN": "its cluster is down",
    "EXECABORT": "it refused part of the transaction",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "its primary is down",
    "MISCONF": "it can't save its data",
    "MOVED": "it is a cluster",
    "NOAUTH": "it requires a password",
    "NOPERM": "its user lacks the permission",
    "NOREPLICAS": "it has too few replicas",
    "NOSCRIPT": "it doesn't have the script",
    "OOM": "it has reached its maxmemory",
    "READONLY": "it is a read-only replica",
    "UNBLOCKED": "it became a replica",
    "WRONGPASS": "the user or the password is wrong",
    "WRONGTYPE": "a key holds a value of another type",
}
_CODE: Final = re.compile(rf"\b(?:{'|'.join(_CODES)})\b")
#: What redis-py takes the code out of, by the name of the error's class.
_CLASSES: Final = {
    "AuthenticationError": "WRONGPASS",
    "BusyLoadingError": "LOADING",
    "ExecAbortError": "EXECABORT",
    "MasterDownError": "MASTERDOWN",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
}
#: This is not the server's fault.
_FULL: Final = "all the relay's connections to it are in use"
#: What drivers and operating systems say, in whatever sentence, and what is told of it.
_PHRASES: Final = {
    "connection refused": "connection refused",
    "connection reset": "the connection broke",
    "connection broke": "the connection broke",
    "connection closed": "the connection broke",
    "server closed": "the connection broke",
    "broken pipe": "the connection broke",
    "no route to host": "no route to it",
    "network is unreachable": "no route to it",
    "name or service not known": "its name can't be resolved",
    "name resolution": "its name can't be resolved",
    "max number of clients": "it has reached its maximum number of clients",
    "too many connections": _FULL,
    "certificate": "TLS failed",
    "ssl": "TLS failed",
    "timed out": "it timed out",
    "timeout": "it timed out",
}
#: The same by what the operating system raises.
_KINDS: Final = (
    (ConnectionRefusedError, "connection refused"),
    (socket.gaierror, "its name can't be resolved"),
    (ssl.SSLError, "TLS failed"),
    (ConnectionError, "the connection broke"),
    (TimeoutError, "it timed out"),
)
#: What of our own says how long.
_OURS: Final = re.compile(r"no answer for [0-9.]+ s")
_UNKNOWN: Final = "the relay's log says why"
_budget = LineBudget()


def why(error: BaseException) -> str:
    """Why a server failed, in fixed words: nothing of the error's text is in it but a code that is known."""
    chain = list(causes(error))
    reasons = (_said_by_redis(link) for link in chain), (_said_by_a_driver(link) for link in chain)
    return next((reason for words in reasons for reason in words if reason is not None), _UNKNOWN)


def _said_by_redis(error: BaseException) -> str | None:
    text = _text(error)
    if _OURS.fullmatch(text):
        return text
    named = [_CLASSES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CLASSES]
    named += _CODE.findall(text)
    return f"{named[0]} ({_CODES[named[0]]})" if named else None


def _said_by_a_driver(error: BaseException) -> str | None:
    for kinds, reason in _KINDS:
        if isinstance(error, kinds):
            return reason
    if type(error).__name__ in ("LimitExceeded", "MaxConnectionsError", "PoolFull"):
        return _FULL
    text = _text(error).lower()
    return next((reason for phrase, reason in _PHRASES.items() if phrase in text), None)


def unavailable(
    who: str, error: BaseException, *, refuses: bool = False, submitted: Literal["no", "unknown"] | None = None
) -> Unavailable:
    """The error that clients are told of; the log is told the whole, in no more lines than somebody can read.

    :param who: which server, as ``Redis``. ``refuses``: whether it answers, and doesn't do it.
    :param submitted: as :class:`watcher.core.errors.Unavailable` has it.
    """
    reason = why(error)
    says = "refuses it" if refuses else "is unavailable" if reason == _FULL else "doesn't answer"
    if (left_out := _budget.take()) is not None:
        more = f" ({left_out} more not shown)" if left_out else ""
        logger.warning("%s %s: %s%s", who, says, " ".join(_text(error).split()) or type(error).__name__, more)
    return Unavailable(f"{who} {says}: {reason}", submitted=submitted)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an app's own error may be one that can't be told
        return ""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, up to ten."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__

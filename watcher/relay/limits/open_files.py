"""How many connections a relay can accept, given the operating system's limit of open files.

Each connection is an open file. If they used all, the relay could neither reach Redis, nor read its page or
certificate.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from typing import Final

__all__ = ["ARRIVING", "connections_for", "lingering", "make_room"]

logger = logging.getLogger(__name__)

#: Most files that a relay has open besides clients' connections: those from its start, connections to Redis and the
#: broker, and the page's files while they are read.
_OWN: Final = 72
#: Refused clients that get a moment to read why: at most so many at a time, or this share of the connections.
_LINGERING: Final = 200
_PART: Final = 8
#: Connections accepted in one iteration of the event loop, those that will be refused included.
ARRIVING: Final = 16


def make_room(wanted: int) -> int:
    """Raise this process's limit of open files to fit the connections, as far as it may.

    :param wanted: connections that the relay should accept.
    :returns: how many it can accept; if fewer, a log line says so.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + lingering(wanted) + ARRIVING + _OWN
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    granted = needed if most == resource.RLIM_INFINITY else min(needed, most)
    with contextlib.suppress(OSError, ValueError):  # macOS has a bound of its own below the one that it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, granted), most))
    granted = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if granted == resource.RLIM_INFINITY or granted >= needed:
        return wanted
    taken = min(wanted, connections_for(granted))
    if taken < wanted:
        why = f"open files are limited to {granted} (ulimit -n)"
        logger.warning("%s: the relay accepts %d connections, not WATCHER_MAX_CONNECTIONS=%d", why, taken, wanted)
    return taken


def connections_for(files: int) -> int:
    """How many connections leave enough open files for everything else.

    :param files: limit of open files; at least one connection is always accepted.
    """
    left = files - _OWN - ARRIVING
    return max(1, left - lingering(left))


def lingering(connections: int) -> int:
    """How many refused clients at a time get a moment to read why.

    :param connections: how many connections are accepted.
    """
    return min(_LINGERING, max(1, connections // _PART))

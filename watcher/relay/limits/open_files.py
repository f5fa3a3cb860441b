"""How many connections a relay can take, by the files that the operating system lets it have open.

Each connection is one. If they took all, the relay could reach neither Redis nor its own page, nor read a certificate.
"""

from __future__ import annotations

import contextlib
import logging
import resource
from typing import Final

__all__ = ["ARRIVING", "connections_for", "lingering", "make_room"]

logger = logging.getLogger(__name__)

#: Files that a relay has open beside clients' connections, at most: what is there from its start, its connections to
#: Redis and to the broker, and the page's files while they are read.
_OWN: Final = 72
#: Who is refused has a moment to read why: so many connections at a time, or this part of those that are taken.
_LINGERING: Final = 200
_PART: Final = 8
#: So many are accepted in one turn of the event loop, and perhaps only told that there are too many.
ARRIVING: Final = 16


def make_room(wanted: int) -> int:
    """Have the operating system let this process have so many connections, as far as it may ask for it.

    :param wanted: connections that the relay is to take.
    :returns: how many it can take; where they are fewer, a line in the log says so.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + lingering(wanted) + ARRIVING + _OWN
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    given = needed if most == resource.RLIM_INFINITY else min(needed, most)
    with contextlib.suppress(OSError, ValueError):  # macOS has a bound of its own below the one that it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, given), most))
    given = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if given == resource.RLIM_INFINITY or given >= needed:
        return wanted
    taken = min(wanted, connections_for(given))
    if taken < wanted:
        why = f"open files are limited to {given} (ulimit -n)"
        logger.warning("%s: the relay accepts %d connections, not WATCHER_MAX_CONNECTIONS=%d", why, taken, wanted)
    return taken


def connections_for(files: int) -> int:
    """How many connections leave room for all else that a relay needs.

    :param files: how many a process may have open. Where they suffice for nothing, it is one all the same.
    """
    left = files - _OWN - ARRIVING
    return max(1, left - lingering(left))


def lingering(connections: int) -> int:
    """How many of those who are refused have a moment to read why, at a time.

    :param connections: how many are taken.
    """
    return min(_LINGERING, max(1, connections // _PART))

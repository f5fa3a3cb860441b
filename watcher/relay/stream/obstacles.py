"""Reasons why nobody can append to the journal, although Redis answers."""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from watcher.journal.layout import Journal
from watcher.relay.common.outage import why

__all__ = ["Obstacle", "obstacle"]


class Obstacle(NamedTuple):
    """Why nobody can append.

    :param reason: in words for clients. ``error``: what Redis says, for the log.
    """

    reason: str
    error: Exception


async def obstacle(redis: Redis, journal: Journal) -> Obstacle | None:
    """Why nobody can append, or None.

    Where something else has taken a place beside the stream, or Redis takes no writes (a replica, memory that is full,
    too few replicas), each call of the script fails, and nothing comes of which a reader would learn.

    :raises redis.RedisError: Redis can't be asked. OSError: nor reached.
    """
    for key in (journal.open, journal.open_lines, journal.closed, journal.closed_older):
        try:
            _ = await redis.hlen(key)
        except ResponseError as error:
            return Obstacle(f"Redis: {key}: {why(error)}", error)
    try:
        # A write that needs memory, and changes nothing: this key is there within a script only.
        await redis.set(journal.renewed, "", xx=True)
    except NoPermissionError:  # a relay may be one that only reads
        return None
    except ResponseError as error:
        return Obstacle(f"Redis takes no writes: {why(error)}", error)
    return None

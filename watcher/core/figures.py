"""Numbers about tasks: as the catalogue counts them, the relay answers with them, and the client reads them. Pure."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import msgspec

__all__ = ["BY", "Bucket", "Count", "CountBy", "Gap", "Longest", "NameStats", "Quantiles", "Series"]

CountBy: TypeAlias = Literal["state", "kind", "name", "queue", "worker", "error"]
#: What tasks can be counted by.
BY: Final[tuple[CountBy, ...]] = get_args(CountBy)


class Gap(msgspec.Struct, frozen=True):
    """Events that left the journal before they were read: between these moments (Unix seconds) tasks may be missing.

    :ivar events: how many are known to be missing; None where that isn't known, since the journal itself was lost.
    """

    since: float
    until: float
    events: int | None


class Count(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many tasks have these values; those that were not asked for, or that the tasks lack, are absent."""

    count: int
    state: str | None = None
    kind: str | None = None
    name: str | None = None
    queue: str | None = None
    worker: str | None = None
    error: str | None = None


class Quantiles(msgspec.Struct, frozen=True):
    """Of durations in seconds: half, and 95 of 100, are no longer; right to within 5 %."""

    p50: float
    p95: float


class Longest(Quantiles, frozen=True):
    """The same, with the longest, which is exact."""

    max: float


class Bucket(msgspec.Struct, frozen=True):
    """What happened from ``at`` (Unix seconds) on, for one step: tasks sent, and ended by kind.

    ``runtime`` and ``waited``: how long those that ended ran and waited; null where none did, or it isn't known.
    """

    at: float
    sent: int
    succeeded: int
    failed: int
    other: int
    runtime: Quantiles | None
    waited: Quantiles | None


class Series(msgspec.Struct, frozen=True):
    """Buckets of ``step`` seconds from ``since`` to ``until`` (Unix seconds), without a hole."""

    since: float
    until: float
    step: float
    buckets: list[Bucket]


class NameStats(msgspec.Struct, frozen=True):
    """The tasks of one name: how many changed or ended, how many of them have failed, when one was last heard of."""

    name: str
    count: int
    failed: int
    runtime: Longest | None
    waited: Longest | None
    seen: float

r"""Which of two events of one task tells its state: the rules, and the text that they are decided by.

Celery runs one task id more than once, and its processes publish independently, so neither the order of arrival nor
clocks alone can tell. Three things that events carry do:

``sent``
    When the task was sent: one *life* of its id. A retry and a redelivery belong to the life that they go on with; a
    replacement (``Task.replace``) and the same id sent again begin another one. The moment travels in the message, and
    what a task sends is later than the task itself, whatever the clocks say (:mod:`watcher.rendering.lives`).
``retries``
    The try within a life.
``run``
    One delivery of the message to a worker, named by the worker that received it. ``redelivered`` counts those before.

An event *supersedes* the task's state, or it is *late*:

====  ==================================================================================================================
 1    Of two lives the later one holds. Of a life whose ``sent`` nobody told, its end counts as older than what was sent
      after it; else it is taken for the same.
 2    ``SUCCESS`` is the last word of a life, as in Celery's backends (``KeyValueStoreBackend._store_result``); of two,
      that of the earlier try.
 3    A later try holds from its ``STARTED`` on. Until then its ``RECEIVED`` stands behind the ``RETRY`` or the end of
      the try before, whichever arrives first, and before all else.
 4    A redelivery, too, holds from its ``STARTED`` on. Until then its ``RECEIVED`` stands behind a run that has
      started, unless that was lost with its worker.
 5    What comes of a run that was followed by another is late.
 6    Within a run the greater rank holds; of the same rank what arrives later, for one process tells of it, in order,
      and its clock may be put back meanwhile.
 7    A worker that starts a task knows better than a backend or a relay that said ``REVOKED`` before.
====  ==================================================================================================================

The same end of the same run a second time says nothing, and is dropped.

The journal's script decides by these rules, once for all relays, and marks what is late: ``order.lua``, beside this
file, has them as code. Who reads events goes by that mark. The script never parses JSON: an event travels with its
*standing*, a text of fixed width but for its end::

    RRRRRR r TTTTTTTTTT.TTTTTT f d SSSSSSSSSS.SSSSSS RUN,RUNS STATE     (without the blanks but the last one)

``R`` retries, ``r`` rank, ``T`` timestamp, ``f`` ``l`` where the worker was lost, ``b`` where a backend or a relay says
REVOKED, else a dot, ``d`` redelivered, ``S`` sent (zeros: unknown), RUN the run, and, in the journal only, those that
it followed. Digits are compared as text, because Lua compares strings by the locale, in which digits keep their order.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

__all__ = ["INCARNATION", "RANKS", "Ranked", "Standing", "incarnation_of", "parse", "rank", "standing"]

#: State → rank within a run. A state that is not listed is a custom ``update_state`` name and ranks like PROGRESS.
RANKS: Final = {
    "PENDING": 0,
    "RECEIVED": 1,
    "STARTED": 2,
    "PROGRESS": 3,
    "RETRY": 4,
    "FAILURE": 5,
    "REVOKED": 5,
    "REJECTED": 5,
    "IGNORED": 5,
    "SUCCESS": 6,
}
#: A run's name begins with that of the process that received it, in so many characters.
INCARNATION: Final = 8


class Ranked(Protocol):
    """What decides which of two events supersedes the other."""

    @property
    def retries(self) -> int | None:
        """Number of the try, from 0 on; None is 0."""

    @property
    def state(self) -> str:
        """Celery's name of the state, or a custom one."""

    @property
    def timestamp(self) -> float:
        """Unix seconds."""

    @property
    def source(self) -> str:
        """``signal``, or ``backend`` for what a relay says."""

    @property
    def reason(self) -> str | None:
        """What explains the state."""

    @property
    def sent(self) -> float | None:
        """Unix seconds at which the task was sent."""

    @property
    def run(self) -> str | None:
        """The delivery to a worker."""

    @property
    def redelivered(self) -> int | None:
        """How often the broker had delivered the message before."""


class Standing(NamedTuple):
    """What a standing says of the event that a task's state comes from."""

    retries: int
    timestamp: float
    state: str
    sent: float | None
    run: str | None


def incarnation_of(run: str) -> str:
    """The name of the process that received a run."""
    return run[:INCARNATION]


def rank(state: str) -> int:
    """How far along ``state`` is within one run: 0 (sent) to 6 (succeeded); custom states rank like PROGRESS."""
    return RANKS.get(state, 3)


def standing(event: Ranked) -> str:
    """The standing of an event, as the journal's script compares it; see above for its form."""
    # What was not sent ranks with what was: it may be sent again under its id, or have arrived after all.
    state, reason = event.state, event.reason
    state_rank = 0 if reason == "not_sent" else RANKS.get(state, 3)
    flag = "."
    if reason == "worker_lost" and state_rank < 5:
        flag = "l"
    elif state == "REVOKED" and event.source == "backend":
        flag = "b"
    run = event.run or ""
    if not (run.isalnum() and run.isascii()):
        run = ""  # a relay goes by what it has read
    return (
        f"{min(event.retries or 0, 999999):06d}{state_rank}{max(event.timestamp, 0.0):017.6f}{flag}"
        f"{min(event.redelivered or 0, 9)}{event.sent or 0.0:017.6f}{run} {state}"
    )


def parse(text: str) -> Standing:
    """Read a standing as the journal holds it, of this form or the one before lives and runs were told.

    :raises ValueError: it is neither.
    """
    head, _, state = text.partition(" ")
    sent = float(head[26:43]) if len(head) > 24 else 0.0
    return Standing(int(head[:6]), float(head[7:24]), state, sent or None, head[43:].partition(",")[0] or None)

"""One submission on its way to the broker: how far it has come, and what its client is told of it.

It is shared by the event loop, which may lose patience, and a thread, which sends it and can't be interrupted. What
holds:

- The state goes along ``TRANSITIONS``, under the lock, and by the methods that change it. Each tells whether it did:
  whoever comes too late changes nothing. What reads a state changes none.
- The loop checks, claims, announces and withdraws. Only the thread that sends begins to send, and only it leaves
  ``SENDING``, so what it reads there is still true in its next line.
- Once it is ``SENDING`` the broker may have it. Nobody says any more that it was not submitted, unless the thread does.
- ``position`` is set before it is ``ANNOUNCED``, so whatever was sent is in the journal.
- One side puts on record how it ended: the thread where the loop had given up on it while it was ``SENDING``
  (``overdue``), else the loop. What is ``UNKNOWN`` nobody does: it stays claimed until the claim is old.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from celery import Task

from watcher.core.errors import Refused, Unavailable
from watcher.core.event import Event
from watcher.journal.layout import Appended
from watcher.relay.submit.idempotency import AlreadySubmitted, Claim, ClaimBusy
from watcher.relay.submit.sending import SentMessage

__all__ = ["SUBMITTED", "TRANSITIONS", "Outcome", "PendingSubmission", "State", "Substitute"]

#: What a client is told: that its task was submitted, that another request submits it, or why it was not.
Outcome: TypeAlias = AlreadySubmitted | ClaimBusy | Refused


class State(enum.Enum):
    """How far a submission has come."""

    NEW = "new"  # nobody but this relay knows of it
    ANSWERED = "answered"  # checks refused it, or the claim is another request's: `verdict` says so
    CLAIMED = "claimed"  # its task id is its own
    ANNOUNCED = "announced"  # PENDING stands in the journal
    SENDING = "sending"  # a thread hands it to the broker
    SENT = "sent"
    SUBSTITUTED = "substituted"  # its own apply_async chose another task to stand for it
    NOT_SENT = "not sent"  # and it won't be
    UNKNOWN = "unknown"  # the broker was lost over it


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.NEW: frozenset((State.ANSWERED, State.CLAIMED, State.NOT_SENT)),
    State.CLAIMED: frozenset((State.ANNOUNCED, State.NOT_SENT)),
    State.ANNOUNCED: frozenset((State.SENDING, State.NOT_SENT)),
    State.SENDING: frozenset((State.SENT, State.SUBSTITUTED, State.NOT_SENT, State.UNKNOWN)),
    # The others are final.
    State.ANSWERED: frozenset(),
    State.SENT: frozenset(),
    State.SUBSTITUTED: frozenset(),
    State.NOT_SENT: frozenset(),
    State.UNKNOWN: frozenset(),
}

#: What a client that is answered now is told of ``submitted``; where it is ``ANSWERED``, the verdict itself says it.
SUBMITTED: Final[Mapping[State, Literal["yes", "no", "unknown"]]] = {
    State.NEW: "no",
    State.CLAIMED: "no",
    State.ANNOUNCED: "no",
    State.SENDING: "unknown",
    State.SENT: "yes",
    State.SUBSTITUTED: "yes",
    State.NOT_SENT: "no",
    State.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class Substitute:
    """The task that stands for one whose own ``apply_async`` didn't send it under its id.

    :param message: that was sent; None where that ``apply_async`` sent none, because the task was there before.
    """

    task_id: str
    message: SentMessage | None


@dataclass(slots=True, eq=False)
class PendingSubmission:
    """One submission; who may change what is said above.

    :param task_id: the one that it is sent under, once it is claimed.
    :param sent_at: Unix seconds; its worker's events say it, too.
    :param queue: that the client asked for.
    :param route: where it goes, as options of ``apply_async``; see :meth:`.broker.Broker.route`.
    :param description: fields of its PENDING that were found out while it was checked.
    :param position: where PENDING stands; None until it is announced.
    :param claimed_at: by the monotonic clock.
    """

    claim: Claim
    task: Task[Any, Any]
    task_id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    sent_at: float
    eta: datetime | None = None
    expires: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    tags: tuple[str, ...] = ()
    route: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    position: Appended | None = None
    claimed_at: float = 0.0
    _state: State = State.NEW
    _verdict: Outcome | None = None
    _why: Refused | None = None
    _substitute: Substitute | None = None
    _overdue: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # What is read.

    @property
    def state(self) -> State:
        """How far it has come."""
        return self._state

    @property
    def substitute(self) -> Substitute | None:
        """What stands for it, where it is ``SUBSTITUTED``."""
        return self._substitute

    @property
    def left_to_thread(self) -> bool:
        """Whether it is known by now how it ended, and the thread that sent it puts that on record."""
        with self._lock:
            return self._overdue and self._state is not State.UNKNOWN

    def outcome(self) -> Outcome:
        """What a client that is answered now is told; see ``SUBMITTED``."""
        with self._lock:
            state, substitute = self._state, self._substitute
            verdict = self._verdict or self._why
        if self.position is not None and state is State.SENT:
            return AlreadySubmitted(self.task_id, self.position.epoch, self.position.offset)
        if self.position is not None and substitute is not None:
            existing = substitute.message is None
            return AlreadySubmitted(substitute.task_id, self.position.epoch, self.position.offset, existing=existing)
        if verdict is not None:
            return verdict
        if SUBMITTED[state] == "unknown":
            return Unavailable("the broker doesn't answer in time", submitted="unknown")
        missing = "Redis" if self.position is None else "the broker"
        return Unavailable(f"{missing} doesn't answer in time", submitted="no")

    # What the event loop changes; checks run in a thread that it waits for.

    def answer(self, verdict: Outcome) -> bool:
        """It goes no further: it was refused, or the claim is another request's."""
        with self._lock:
            if not self._move(State.ANSWERED):
                return False
            self._verdict = verdict
            return True

    def claimed(self, task_id: str) -> bool:
        """The task id is its own, even where it has been withdrawn meanwhile."""
        self.task_id, self.claimed_at = task_id, time.monotonic()
        with self._lock:
            return self._move(State.CLAIMED)

    def announced(self, position: Appended) -> bool:
        """PENDING stands at ``position``, even where it has been withdrawn meanwhile."""
        self.position = position
        with self._lock:
            return self._move(State.ANNOUNCED)

    def withdraw(self, why: Refused | None = None) -> bool:
        """It isn't sent any more, unless somebody has begun to."""
        with self._lock:
            if self._state is State.SENDING or not self._move(State.NOT_SENT):
                return False
            self._why = why
            return True

    def leave_to_thread(self) -> bool:
        """Nobody looks any more how it ends: if it is just being sent, the thread that does records that."""
        with self._lock:
            self._overdue = self._state is State.SENDING
            return self._overdue

    # What the thread changes that sends it.

    def begin_sending(self) -> bool:
        """From now on the broker may have it; False where it has been withdrawn."""
        with self._lock:
            return self._move(State.SENDING)

    def end_sending(self, state: State, why: Refused | None = None, substitute: Substitute | None = None) -> bool:
        """It was sent, or certainly not, or nobody knows.

        :param why: what its client is told where it was not sent, or nobody knows.
        :param substitute: where it is ``SUBSTITUTED``.
        """
        with self._lock:
            if not self._move(state):
                return False
            self._why, self._substitute = why, substitute
            return True

    def _move(self, state: State) -> bool:
        """Go on to ``state``, if that is allowed from here; the lock is held."""
        if state not in TRANSITIONS[self._state]:
            return False
        self._state = state
        return True

    # What the journal is told.

    def event(self, state: str, **fields: Any) -> Event:
        """An event of this task's."""
        return Event(
            id=self.task_id,
            state=state,
            timestamp=time.time(),
            source="signal",
            name=self.task.name,
            retries=0,
            sent=self.sent_at,
            root_id=self.task_id,
            tags=self.tags or None,
            **fields,
        )

    def pending(self) -> Event:
        """What is known of it before it is sent."""
        return self.event(
            "PENDING",
            eta=self.eta.isoformat() if self.eta else None,
            expires=self.expires.isoformat() if self.expires else None,
            **self.description,
        )

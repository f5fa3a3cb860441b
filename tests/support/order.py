"""The rules of watcher/core/order.py written down a second time, plainly: what the journal's script is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from watcher.core.event import Event, is_final
from watcher.core.order import rank

STARTED, RETRY = rank("STARTED"), rank("RETRY")


@dataclass
class Known:
    """What is remembered of one task."""

    event: Event
    sent: float | None
    run: str | None
    followed: list[str] = field(default_factory=list)


def _rank(event: Event) -> int:
    return 0 if event.reason == "not_sent" else rank(event.state)


def _is_hearsay(event: Event) -> bool:
    return event.state == "REVOKED" and event.source == "backend"


class Referee:
    """Tells of each event, in their order of arrival, whether it holds, is late, or says nothing."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}

    def verdict(self, told: Event) -> str:
        known = self.known.get(told.id)
        if known is None:
            self.known[told.id] = Known(told, told.sent, told.run)
            return "holds"
        verdict = self._verdict(known, told)
        if verdict == "new life":
            self.known[told.id] = Known(told, told.sent, told.run)
        elif verdict == "holds":
            self._take(known, told)
        return "holds" if verdict == "new life" else verdict

    def marked(self, told: Iterable[Event]) -> list[Event]:
        """The events that a journal would hold."""
        found = ((each, self.verdict(each)) for each in told)
        return [replace(each, late=verdict == "late") for each, verdict in found if verdict != "drop"]

    def _take(self, known: Known, told: Event) -> None:
        same_try = (told.retries or 0) == (known.event.retries or 0)
        if not same_try:
            known.followed, known.run = [], told.run
        elif told.run and known.run and told.run != known.run and min(_rank(told), _rank(known.event)) >= STARTED:
            known.followed = [known.run, *known.followed]
        known.run = told.run or known.run
        known.sent = told.sent or known.sent
        known.event = told

    def _verdict(self, known: Known, told: Event) -> str:
        now, new, before = known.event, _rank(told), _rank(known.event)
        if told.sent and told.sent != known.sent:
            if known.sent:
                return "new life" if told.sent > known.sent else "late"
            if is_final(now.state) and told.sent > round(now.timestamp, 6):
                return "new life"
        this, its = now.retries or 0, told.retries or 0
        same_run = not told.run or not known.run or told.run == known.run
        if is_final(told.state) and told.state == now.state and new == before and its == this and same_run:
            return "drop"
        if "SUCCESS" in (told.state, now.state):
            holds = now.state != "SUCCESS" or (told.state == "SUCCESS" and its < this)
        elif its > this:
            holds = new >= STARTED or before < RETRY
        elif its < this:
            holds = its == this - 1 and before < STARTED and new >= RETRY
        elif same_run:
            holds = new >= before or (_is_hearsay(now) and new >= STARTED and not _is_hearsay(told))
        elif told.run in known.followed or (told.redelivered or 0) < (now.redelivered or 0):
            holds = False
        else:
            holds = new >= STARTED or before < STARTED or now.reason == "worker_lost"
        return "holds" if holds else "late"

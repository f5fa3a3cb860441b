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

The journal's script decides by these rules, once for all relays, and marks what is late (:data:`ORDER`). Who reads
events goes by that mark. The script never parses JSON: an event travels with its *standing*, a text of fixed width but
for its end::

    RRRRRR r TTTTTTTTTT.TTTTTT f d SSSSSSSSSS.SSSSSS RUN,RUNS STATE     (without the blanks but the last one)

``R`` retries, ``r`` rank, ``T`` timestamp, ``f`` ``l`` where the worker was lost, ``b`` where a backend or a relay says
REVOKED, else a dot, ``d`` redelivered, ``S`` sent (zeros: unknown), RUN the run, and, in the journal only, those that
it followed. Digits are compared as text, because Lua compares strings by the locale, in which digits keep their order.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

__all__ = ["INCARNATION", "ORDER", "RANKS", "Ranked", "Standing", "incarnation_of", "parse", "rank", "standing"]

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


#: The rules in Lua. ``final(standing)``; ``current(text)``, a standing as it is stored, brought to this form;
#: ``order(current, standing)``: the standing to store where the event supersedes the state, else ``'late'`` or
#: ``'drop'``.
ORDER: Final = r"""
local byte, sub = string.byte, string.sub
local UNKNOWN = '0000000000.000000'
local STARTED, RETRY, SUCCESS = byte('2'), byte('4'), byte('6')

local function final(standing)
  local rank = byte(standing, 7) or 0
  return rank > RETRY or rank == 48 and string.find(standing, ' REJECTED', 25, true) ~= nil
end

-- Written before lives and runs were told, or by somebody else: anything else counts as nothing.
local function current(text)
  if not text or #text < 24 then return false end
  if byte(text, 25) == 32 or #text < 44 then text = sub(text, 1, 24) .. '.0' .. UNKNOWN .. ' ' .. sub(text, 26) end
  return text
end

local function end_of_runs(standing) return string.find(standing, ' ', 44, true) or #standing + 1 end

local function runs(standing, blank)
  local all = sub(standing, 44, blank - 1)
  local comma = string.find(all, ',', 1, true)
  if not comma then return all, '' end
  return sub(all, 1, comma - 1), sub(all, comma)
end

-- Rule 3: between two tries of one life.
local function of_tries(rank, before, try, tries)
  if try > tries then return rank >= STARTED or before < RETRY end
  return before < STARTED and rank >= RETRY and (tonumber(tries) or 0) - tonumber(try) == 1
end

-- Rules 4 and 5: between two runs of one try.
local function of_runs(rank, before, told, known, run, followed)
  if string.find(followed .. ',', ',' .. run .. ',', 1, true) then return false end
  if byte(told, 26) < byte(known, 26) then return false end
  return rank >= STARTED or before < STARTED or sub(known, 25, 25) == 'l'
end

local function order(known, told)
  local rank, before = byte(told, 7), byte(known, 7)
  local blank = end_of_runs(told)
  if rank > before and sub(told, 26, blank) == sub(known, 26, blank) and sub(told, 1, 6) == sub(known, 1, 6) then
    return told  -- the same run goes on, as most do
  end
  local sent, since = sub(told, 27, 43), sub(known, 27, 43)
  local known_blank = end_of_runs(known)
  local run = runs(told, blank)
  local its, followed = runs(known, known_blank)
  local same_run = run == '' or its == '' or run == its
  local life = sent
  if sent ~= since and sent ~= UNKNOWN and (since ~= UNKNOWN or final(known) and sent > sub(known, 8, 24)) then  -- 1
    if sent < since then return 'late' end
    return told
  end
  if sent == UNKNOWN then life = since end
  local try, tries = sub(told, 1, 6), sub(known, 1, 6)
  if final(told) and final(known) and try == tries and rank == before and same_run
      and sub(told, blank) == sub(known, known_blank) then
    return 'drop'
  end
  local holds
  if before == SUCCESS or rank == SUCCESS then  -- 2
    holds = before ~= SUCCESS or rank == SUCCESS and try < tries
  elseif try ~= tries then
    holds = of_tries(rank, before, try, tries)
  elseif same_run then  -- 6, 7
    holds = rank >= before or (sub(known, 25, 25) == 'b' and rank >= STARTED and sub(told, 25, 25) ~= 'b')
  else
    holds = of_runs(rank, before, told, known, run, followed)
  end
  if not holds then return 'late' end
  if try ~= tries then
    followed = ''
  elseif not same_run and rank >= STARTED and before >= STARTED and its ~= '' then
    followed = ',' .. its .. followed
    if #followed > 200 then followed = string.match(sub(followed, 1, 200), '^(.*),') or '' end
  end
  if run == '' and try == tries then run = its end
  return sub(told, 1, 26) .. life .. run .. followed .. sub(told, blank)
end
"""

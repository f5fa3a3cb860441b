"""Once per task id and idempotency key: what was submitted under which, remembered in Redis for a day.

A submission claims its id before it is sent, and the claim says then how that ended:

- *claimed*: it is being sent. Where the relay died over it nobody knows whether it was; after a few seconds a repeat of
  the same request takes the claim over and sends again, under the same id.
- *sent*: a repeat gets the same task, and sends nothing. Where another one stands for it, because the task's own
  ``apply_async`` chose so, the claim names that one.
- *refused*: the broker didn't take it, or the task's own code. The same subject may use the id again.

An idempotency key is a subject's own, and leads to the id that was chosen for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from watcher.core.errors import Conflict, NotPermitted, Refused
from watcher.journal.layout import Journal
from watcher.journal.scripts import CLAIM, sha_of
from watcher.relay.common.coalescing import Coalescer

__all__ = ["AlreadySubmitted", "Claim", "ClaimBusy", "ClaimTaken", "IdempotencyStore", "Verdict", "subject_digest"]

#: A claim is remembered for so long, in milliseconds.
_TTL: Final = 24 * 3600 * 1000
#: A claim that was neither confirmed nor given back within this time is a dead relay's, in milliseconds: longer than
#: any submission takes.
_PATIENCE: Final = 5000
#: Whether one is there is to be asked for within this time, in seconds.
_LOOK: Final = 1.5

# A value is `STATE SUBJECT DIGEST`, of one, 16 and 32 characters, and of a sent one ` EPOCH OFFSET`, then ` +ID` or
# ` =ID` where another task stands for it: one that was sent for it, or that was there before.
_CLAIMED, _SENT, _REFUSED = "c", "s", "r"
_HELD: Final = re.compile(
    r"[crs] (?P<subject>[0-9a-f]{16}) (?P<digest>[0-9a-f]{32})"
    r"(?: (?P<epoch>[0-9]+) (?P<offset>[0-9]{1,20})(?: (?P<how>[+=])(?P<other>.+))?)?",
    re.DOTALL,
)

_CLAIM_SHA: Final = sha_of(CLAIM)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one submission claims.

    :param id: the task's; ``chosen``: whether the client chose it.
    :param subject: see :func:`subject_digest`.
    :param digest: of the request, 32 characters.
    :param key: idempotency key, where there is one.
    """

    id: str
    chosen: bool
    subject: str
    digest: str
    key: str | None = None

    @property
    def body(self) -> str:
        """What its value says besides the state."""
        return f"{self.subject} {self.digest}"


@dataclass(frozen=True, slots=True)
class ClaimTaken:
    """The submission may be sent, under this id."""

    id: str


@dataclass(frozen=True, slots=True)
class AlreadySubmitted:
    """It was sent before, under this id; PENDING stands there in the journal.

    :param existing: whether it is a task that was there before, which only stands for what was to be sent: then it may
        be anybody's.
    """

    id: str
    epoch: str
    offset: int
    existing: bool = False


@dataclass(frozen=True, slots=True)
class ClaimBusy:
    """It is being sent right now, by another request or by a relay that has just died."""

    id: str


_Command: TypeAlias = tuple[str | int, ...]
Verdict: TypeAlias = ClaimTaken | AlreadySubmitted | ClaimBusy | Refused


def subject_digest(subject: str) -> str:
    """A token's ``sub`` as claims hold it."""
    return hashlib.sha256(subject.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class IdempotencyStore:
    """The claims of one installation.

    :param guarded: whether subjects are to be kept apart: then an id that a client chooses must be new to the journal
        too, so that nobody gains sight of a task by submitting under its id.
    """

    def __init__(self, redis: Redis, journal: Journal, *, guarded: bool) -> None:
        self._redis = redis
        self._journal = journal
        self._guarded = guarded
        self._held: Coalescer[str, Any] = Coalescer(self._ask)

    async def take(self, claims: Sequence[Claim]) -> list[Verdict]:
        """Claim all of these, in two round trips at most; the verdicts are in their order.

        :raises redis.RedisError: Redis is away or refuses; nobody knows which of them are claimed.
        """
        verdicts: dict[int, Verdict] = {}
        ids = [claim.id for claim in claims]
        keyed = [index for index, claim in enumerate(claims) if claim.key is not None]
        if keyed:
            for index, held in zip(keyed, await self._take_keys([claims[i] for i in keyed]), strict=True):
                digest, _, ids[index] = held.partition(" ")
                claim = claims[index]
                if digest != claim.digest or (claim.chosen and ids[index] != claim.id):
                    verdicts[index] = Conflict(f"the idempotency key {claim.key!r} was used for another request")
        rest = [index for index in range(len(claims)) if index not in verdicts]
        answers = await self._take_ids([(ids[index], claims[index]) for index in rest])
        for index, answer in zip(rest, answers, strict=True):
            verdicts[index] = _verdict(ids[index], claims[index], answer)
        return [verdicts[index] for index in range(len(claims))]

    async def is_submitted(self, task_id: str) -> bool:
        """Whether a task of this id was submitted within the last day.

        :raises redis.RedisError: Redis is away. TimeoutError: not asked in time. TooMany: too many are asked.
        """
        return await self._held.get(task_id, _LOOK) is not None

    async def _take_keys(self, claims: Sequence[Claim]) -> list[str]:
        commands: list[_Command] = []
        for claim in claims:
            key = self._key(claim)
            commands += ("SET", key, f"{claim.digest} {claim.id}", "PX", _TTL, "NX"), ("GET", key)
        return [_text(reply) for reply in (await self._execute(commands))[1::2]]

    async def _take_ids(self, claims: Sequence[tuple[str, Claim]]) -> list[str]:
        commands: list[_Command] = []
        for task_id, claim in claims:
            keys = [self._id(task_id), self._journal.open, self._journal.closed, self._journal.closed_older]
            new = task_id if self._guarded and claim.chosen else ""
            value = f"{_CLAIMED} {claim.body}"
            commands.append(("EVALSHA", _CLAIM_SHA, len(keys), *keys, value, _TTL, _PATIENCE, new))
        replies = await self._execute(commands)
        # Redis was started anew, or this is its first claim. Those that were taken all the same are not asked again:
        # they would look like somebody's who is about to send the task.
        if missing := [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]:
            await self._redis.script_load(CLAIM)
            for index, reply in zip(missing, await self._execute([commands[i] for i in missing]), strict=True):
                replies[index] = reply
        if failed := [reply for reply in replies if isinstance(reply, NoScriptError)]:
            raise failed[0]
        return [_text(reply) for reply in replies]

    async def belongs(self, task_id: str, subject: str) -> bool:
        """Whether the task of this id was submitted by a subject within the last day; a nobody's is nobody's.

        :param subject: a token's ``sub``.
        :raises: as :meth:`is_submitted`.
        """
        held = _HELD.fullmatch(_text(await self._held.get(task_id, _LOOK))) if subject else None
        return held is not None and held["subject"] == subject_digest(subject)

    async def still_taken(self, taken: Sequence[tuple[str, Claim, float]]) -> list[bool]:
        """Whether these are claimed as they were, and nobody has taken them over.

        :param taken: each with its age in seconds.
        :raises redis.RedisError: Redis is away.
        """
        commands: list[_Command] = []
        for task_id, _, _ in taken:
            commands += ("GET", self._id(task_id)), ("PTTL", self._id(task_id))
        replies = await self._execute(commands)
        return [
            # Whoever takes it over makes it young again.
            _text(held) == f"{_CLAIMED} {claim.body}" and _TTL - left > age * 1000 - _PATIENCE / 2
            for (_, claim, age), held, left in zip(taken, replies[::2], replies[1::2], strict=True)
        ]

    async def settle(
        self, sent: Sequence[tuple[str, Claim, AlreadySubmitted]], refused: Sequence[tuple[str, Claim]]
    ) -> None:
        """Say how it ended for those that were taken, by the id that :class:`ClaimTaken` gave.

        :param sent: with what stands for each: as a rule itself.
        :param refused: those that were not sent: their idempotency keys are free again.
        """
        commands: list[_Command] = []
        for task_id, claim, submitted in sent:
            other = "" if submitted.id == task_id else f" {'=' if submitted.existing else '+'}{submitted.id}"
            value = f"{_SENT} {claim.body} {submitted.epoch} {submitted.offset}{other}"
            commands.append(("SET", self._id(task_id), value, "PX", _TTL))
        for task_id, claim in refused:
            commands.append(("SET", self._id(task_id), f"{_REFUSED} {claim.body}", "PX", _TTL))
            if claim.key is not None:
                commands.append(("DEL", self._key(claim)))
        await self._execute(commands)

    async def _ask(self, task_ids: list[str]) -> list[Any]:
        return await self._execute([("GET", self._id(task_id)) for task_id in task_ids])

    async def _execute(self, commands: Sequence[_Command]) -> list[Any]:
        """The replies to ``commands``; that a script isn't there is one of them."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                _ = pipe.execute_command(*command)  # only queued: there is nothing to wait for
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, NoScriptError):
                raise reply
        return replies

    def _id(self, task_id: str) -> str:
        return self._journal.claim(f"id:{task_id}")

    def _key(self, claim: Claim) -> str:
        return self._journal.claim(f"key:{claim.subject}:{claim.key}")


def _verdict(task_id: str, claim: Claim, answer: str) -> Verdict:
    if answer == "taken":
        return ClaimTaken(task_id)
    if answer == "known":
        return NotPermitted(f"the task id {task_id!r} is in use")
    match = _HELD.fullmatch(answer)
    if match is None or match["subject"] != claim.subject:  # none that a relay made is nobody's, too
        return NotPermitted(f"the task id {task_id!r} is in use")
    if match["digest"] != claim.digest:
        return Conflict(f"the task id {task_id!r} was used for another request")
    if match["epoch"]:
        return AlreadySubmitted(match["other"] or task_id, match["epoch"], int(match["offset"]), match["how"] == "=")
    return ClaimBusy(task_id)


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)

"""Questions that are asked together: what many want to know at a time takes a few round trips, not one for each.

Who asks while others are being answered waits for the next batch, which takes along all that has come until then. The
same question is asked once for all who came before it was asked. No task, no timer, no delay.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

import anyio

from watcher.core.errors import TooMany

__all__ = ["Coalescer", "QueryTimeout"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: So many different questions may wait: those of all clients of a relay that come back at once are fewer.
_BOUND: Final = 20_000


class QueryTimeout(TimeoutError):
    """A question was not asked in time: others were, or whoever would answer doesn't."""


class _Question(Generic[K, V]):
    """A question, and what came of it.

    ``leads``: it has a lane. ``asked``: it is under way, or was; ``tried``: it has been under way, perhaps in vain.
    """

    __slots__ = ("answers", "asked", "asking", "failure", "key", "leads", "stirred", "tried")

    def __init__(self, key: K) -> None:
        self.key = key
        self.asking = 0  # how many want to know
        self.leads = False
        self.asked = False
        self.tried = False
        self.answers: list[V] = []
        self.failure: Exception | None = None
        self.stirred = anyio.Event()


class Coalescer(Generic[K, V]):
    """A bounded queue of questions in front of ``ask``.

    :param ask: answers some, in order. What it raises is raised to each who wanted to know. It is cancelled with
        whoever has a lane for it; the others' questions are asked again then.
    :param lanes: how many batches are under way at a time.
    :param most: tells how many questions a batch has at most, at this moment.
    :param bound: how many may wait.
    """

    def __init__(
        self,
        ask: Callable[[list[K]], Awaitable[Sequence[V]]],
        *,
        lanes: int = 1,
        most: Callable[[], int] = lambda: 100,
        bound: int = _BOUND,
    ) -> None:
        self._ask = ask
        self._free = lanes
        self._most = most
        self._bound = bound
        self._waiting: dict[_Question[K, V], None] = {}
        self._newest: dict[K, _Question[K, V]] = {}  # of those that wait, whom others may join

    async def get(self, key: K, seconds: float) -> V:
        """The answer to a question, as it is at some moment after this was called.

        Safe to cancel, and others are answered all the same.

        :param seconds: how long it may take.
        :raises TimeoutError: it took longer. QueryTimeout: it was not even asked.
        :raises TooMany: too many wait already. Whatever ``ask`` raises.
        """
        question = self._newest.get(key)
        if question is None:
            if len(self._waiting) >= self._bound:
                raise TooMany(f"more than {self._bound} look-ups at once")
            question = self._newest[key] = _Question(key)
            self._waiting[question] = None
            if self._free:
                self._free -= 1
                question.leads = True
        question.asking += 1
        try:
            with anyio.move_on_after(seconds):
                await self._answered(question)
        finally:
            question.asking -= 1
            if not question.asking:
                self._leave(question)
        if question.failure is not None:
            raise copy.copy(question.failure)  # one for each: who raises it adds its own traceback
        if not question.answers:
            raise TimeoutError if question.tried else QueryTimeout
        return question.answers[0]

    async def _answered(self, question: _Question[K, V]) -> None:
        while not question.answers and question.failure is None:
            if question.leads:
                question.leads = False
                await self._lead()
                continue
            if question.stirred.is_set():  # of a lane, or of a batch that was given up
                question.stirred = anyio.Event()
            await question.stirred.wait()

    async def _lead(self) -> None:
        """Ask what has waited for longest."""
        batch = list(islice(self._waiting, self._most()))
        for question in batch:
            self._take(question)
            question.asked = question.tried = True
        try:
            answers = await self._ask([question.key for question in batch]) if batch else ()
            for question, answer in zip(batch, answers, strict=True):
                question.answers.append(answer)
        except Exception as error:  # noqa: BLE001 - it is raised to each of them
            for question in batch:
                question.failure = error
        except BaseException:
            self._put_back([question for question in batch if question.asking])
            raise
        finally:
            for question in batch:
                question.stirred.set()
            self._pass_on()

    def _take(self, question: _Question[K, V]) -> None:
        del self._waiting[question]
        if self._newest.get(question.key) is question:
            del self._newest[question.key]

    def _put_back(self, batch: Sequence[_Question[K, V]]) -> None:
        """Whoever led has left: the others' questions are the first to be asked again."""
        for question in batch:
            question.asked = False
            self._newest.setdefault(question.key, question)
        self._waiting = {**dict.fromkeys(batch), **self._waiting}

    def _leave(self, question: _Question[K, V]) -> None:
        """Nobody wants to know it any more."""
        if not question.asked:
            self._take(question)
        if question.leads:
            question.leads = False
            self._pass_on()

    def _pass_on(self) -> None:
        """Give the lane to whoever has waited for longest."""
        following = next((question for question in self._waiting if not question.leads), None)
        if following is None:
            self._free += 1
        else:
            following.leads = True
            following.stirred.set()

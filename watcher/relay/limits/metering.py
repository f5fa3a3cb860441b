"""Whose work is being done, what it costs, and where it lets others have their turn.

What somebody asks for is charged to their address by the time of the processor that it takes, on the event loop and in
threads, whatever it was. Who waits for something costs nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint

from watcher.relay.limits.limits import AddressUsage
from watcher.relay.limits.throttled import await_turn

__all__ = ["UsageBill", "bill", "metered", "on_bill", "turn"]

T = TypeVar("T")


class UsageBill:
    """What is done for one address, or for several together, who share it equally.

    :param accounts: of those whose it is; where there are none, nobody pays.
    :param paid: seconds that were charged before.
    :param paced: whether it counts as commands, too; what has a limit of its own, as submissions do, doesn't. It may be
        changed from within.
    """

    __slots__ = ("accounts", "paced", "paid")

    def __init__(self, accounts: Iterable[AddressUsage | None] = (), paid: float = 0.0, *, paced: bool = True) -> None:
        self.accounts = [account for account in accounts if account is not None]
        self.paid = paid
        self.paced = paced

    def spend(self, seconds: float) -> None:
        """So much time of the processor was spent."""
        if self.paid >= seconds:
            self.paid -= seconds
            return
        seconds, self.paid = seconds - self.paid, 0.0
        for account in self.accounts:
            account.spend(seconds / len(self.accounts), paced=self.paced)

    @property
    def heavy(self) -> AddressUsage | None:
        """Who pays, where that is one address, which has done much lately; else None."""
        return self.accounts[0] if len(self.accounts) == 1 and self.accounts[0].heavy else None


_NOBODYS = UsageBill()
_bill: ContextVar[UsageBill] = ContextVar("bill", default=_NOBODYS)


def bill() -> UsageBill:
    """Whom the work is for that is being done."""
    return _bill.get()


@contextlib.contextmanager
def on_bill(of: UsageBill) -> Iterator[None]:
    """What is done within is put on this bill by whoever asks for it, as threads do."""
    token = _bill.set(of)
    try:
        yield
    finally:
        _bill.reset(token)


async def metered(of: UsageBill, work: Callable[..., Coroutine[Any, Any, T]], *given: Any) -> T:
    """Await ``work(*given)``, and put the time that the event loop spends with it on a bill.

    Safe to cancel as ``work`` is.
    """
    return await _steps(work(*given), of)


@types.coroutine
def _steps(work: Coroutine[Any, Any, T], of: UsageBill) -> Generator[Any, Any, T]:
    clock = time.thread_time
    sent: Any = None
    error: BaseException | None = None
    with on_bill(of):
        while True:
            start = clock()
            try:
                waits_for = work.send(sent) if error is None else work.throw(error)
            except StopIteration as end:
                returned: T = end.value
                return returned
            finally:
                of.spend(clock() - start)
            sent, error = None, None
            try:
                sent = yield waits_for
            except BaseException as raised:  # noqa: BLE001 - it is the work's, whatever it is
                error = raised


async def turn() -> None:
    """Let others have their turn, in the midst of what takes long; who has done much waits in line.

    Safe to cancel.
    """
    payer = _bill.get().heavy
    if payer is None:
        await checkpoint()
        return
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on() -> bool:
        if not future.done():
            future.set_result(None)
        return True

    waiting = await_turn(payer, go_on)
    try:
        await future
    finally:
        waiting.cancel()

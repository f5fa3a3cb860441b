"""Processor time per client: whose work is being done, what it costs, and when it yields.

Work is charged to the client's address by the processor time that it takes, on the event loop and in threads. Waiting
costs nothing.
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
    """Work for one address, or for several that share its cost equally.

    :param accounts: the addresses that pay; if there are none, nobody does.
    :param paid: seconds that were charged before.
    :param paced: whether the time counts as commands, too; work with its own limit, such as submissions, doesn't. May
        be changed from within.
    """

    __slots__ = ("accounts", "paced", "paid")

    def __init__(self, accounts: Iterable[AddressUsage | None] = (), paid: float = 0.0, *, paced: bool = True) -> None:
        self.accounts = [account for account in accounts if account is not None]
        self.paid = paid
        self.paced = paced

    def spend(self, seconds: float) -> None:
        """Charge this much processor time."""
        if self.paid >= seconds:
            self.paid -= seconds
            return
        seconds, self.paid = seconds - self.paid, 0.0
        for account in self.accounts:
            account.spend(seconds / len(self.accounts), paced=self.paced)

    @property
    def heavy(self) -> AddressUsage | None:
        """The paying address, if there is only one and it has used much time lately; else None."""
        return self.accounts[0] if len(self.accounts) == 1 and self.accounts[0].heavy else None


_NOBODYS = UsageBill()
_bill: ContextVar[UsageBill] = ContextVar("bill", default=_NOBODYS)


def bill() -> UsageBill:
    """The bill of the current work."""
    return _bill.get()


@contextlib.contextmanager
def on_bill(of: UsageBill) -> Iterator[None]:
    """Within this block, code that asks for the bill, such as threads, gets this one."""
    token = _bill.set(of)
    try:
        yield
    finally:
        _bill.reset(token)


async def metered(of: UsageBill, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Await ``work(*given)``, and put the time that the event loop spends with it on a bill.

    Safe to cancel as ``work`` is.
    """
    return await _steps(work(*arguments), of)


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
                error = None  # its traceback leads to this frame: no cycle, so that all of it is freed at once
            sent = None
            try:
                sent = yield waits_for
            except BaseException as raised:  # noqa: BLE001 - it is the work's, whatever it is
                error = raised


async def turn() -> None:
    """Yield to others in the middle of long work; a busy address waits in line.

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

"""Calls of clients, carried out beside everything else: begun in turn, charged for what they cost, and counted."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from watcher.core.errors import Refused
from watcher.relay.limits.limits import COMMAND
from watcher.relay.limits.metering import UsageBill, metered
from watcher.relay.limits.throttled import await_turn
from watcher.relay.websocket.connection import WebSocketConnection
from watcher.relay.websocket.records import Call

__all__ = ["CallRunner"]

logger = logging.getLogger(__name__)

#: What a call counts as besides being a command, and more once it has taken longer: they take about as long.
_COSTS: Final = {"submit": 20, "revoke": 40}
_COST: Final = 4
#: So many look-ups are begun before others have their turn: they take a fifth of a millisecond each, and what is asked
#: together is asked of Redis together.
_TOGETHER: Final = 16
#: … or, of an address that has done much, while others are there.
_AMONG_OTHERS: Final = 8
#: Calls that are carried out also where the client has gone before its turn came.
_LASTING: Final = frozenset(("submit", "revoke"))


class CallRunner:
    """Those that are under way.

    :param do: carries one out, and returns what is answered, or raises what it is refused with.
    :param refused: told of what was refused.
    """

    def __init__(
        self,
        do: Callable[[WebSocketConnection, Call], Awaitable[Any]],
        refused: Callable[[WebSocketConnection, Call, Refused], None],
    ) -> None:
        self._do = do
        self._refused = refused
        self._under_way = 0
        self._begun = 0
        self._fewer = anyio.Event()
        #: Where they are carried out.
        self.group: TaskGroup | None = None

    def begin(self, socket: WebSocketConnection, call: Call) -> None:
        """Carry a client's call out; whose address has done much lately waits for its turn."""
        if self.group is None:
            raise RuntimeError("the relay is not running")
        self._under_way += 1
        account, cost = socket.account, _COSTS.get(call.method, _COST)
        start = functools.partial(self._start, self.group, socket, call, UsageBill((account,), cost * COMMAND))
        if account is None:
            start()
            return
        account.charge(cost, time.monotonic())
        if account.heavy or account.turns.of(account):
            await_turn(account, start)
        else:
            start()

    async def finish(self) -> None:
        """Wait until none is under way."""
        while self._under_way:
            await self._fewer.wait()

    def _start(self, group: TaskGroup, socket: WebSocketConnection, call: Call, of: UsageBill) -> bool:
        """Its turn has come; whether others are to have theirs before the next."""
        if socket.subscriptions is None and call.method not in _LASTING:
            self._end()  # nobody hears the answer
            return False
        group.start_soon(metered, of, self._carry_out, socket, call)
        self._begun += 1
        together = _TOGETHER if socket.account is None or socket.account.alone else _AMONG_OTHERS
        return call.method in _LASTING or self._begun % together == 0

    async def _carry_out(self, socket: WebSocketConnection, call: Call) -> None:
        try:
            socket.answer(call, await self._do(socket, call))
        except Refused as error:
            self._refused(socket, call, error)
            socket.refuse(call, error)
        except Exception:  # the relay serves many: one call's unforeseen error is that call's alone
            logger.exception("the call %r failed", call.method)
            socket.refuse(call, Refused("internal server error"))
        finally:
            self._end()

    def _end(self) -> None:
        self._under_way -= 1
        self._fewer.set()
        self._fewer = anyio.Event()

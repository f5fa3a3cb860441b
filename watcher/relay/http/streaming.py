"""Answers that go on for longer than others: sent as fast as they are taken, and ended with the right to read them."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from watcher.core.permissions import Grant
from watcher.relay.http.connection import TRANSPORT
from watcher.relay.http.request_parts import CLIENT
from watcher.relay.limits.socket_backlog import SocketProgress

__all__ = ["STALLED", "StreamServices", "StreamedAnswer"]

#: A reader that takes no byte for this long, in seconds, is dropped …
STALLED: Final = 60.0
#: … and while it takes none, it is checked at this interval, in seconds.
_LOOK: Final = 1.0


class StreamServices(Protocol):
    """What such an answer needs of the relay."""

    draining: bool
    edition: int


class StreamedAnswer(Response):
    """Send a body piece by piece, until it is complete, the reader leaves, its rights end, or the relay stops.

    What isn't complete is cut off without the end of its last chunk, so that its reader learns of it (RFC 9112, 8).

    :param grant: of the reader.
    :param by_token: whether a token of the reader's says so; else the table of permissions does, as it is now.
    :param stalled: seconds after which a reader that takes nothing is dropped.
    """

    def __init__(
        self,
        services: StreamServices,
        grant: Grant,
        headers: dict[str, str],
        *,
        by_token: bool,
        stalled: float = STALLED,
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._services = services
        self._ends = grant.ends
        self._edition = None if by_token else services.edition
        self._stalled = stalled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body"})
            return
        with self.open(scope.get(CLIENT, "")):
            await send(start)
            async with anyio.create_task_group() as group:
                group.start_soon(_leave, receive, group.cancel_scope)
                await self._run(send, SocketProgress(scope.get("state", {}).get(TRANSPORT)))
                group.cancel_scope.cancel()

    def open(self, _address: str) -> AbstractContextManager[None]:
        """What is held while it is sent; :exc:`watcher.core.errors.Refused` is told to a reader of this address."""
        return nullcontext()

    async def _run(self, send: Send, progress: SocketProgress) -> None:
        complete = await self.send_all(send, progress)
        if complete:
            with anyio.move_on_after(_LOOK) as looked:
                await send({"type": "http.response.body"})
            complete = not looked.cancelled_caught
        if not complete:
            await progress.abort()

    async def send_all(self, send: Send, progress: SocketProgress) -> bool:
        """Send the pieces by :meth:`send_piece`; returns whether that was all of them."""
        raise NotImplementedError

    async def send_piece(self, send: Send, data: bytes, progress: SocketProgress) -> bool:
        """Send once the reader has room; False if it must be dropped."""
        behind = 0
        try:
            while True:
                # The server waits for room before it writes anything: who gives up waiting has sent nothing.
                with anyio.move_on_after(_LOOK) as looked:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if not looked.cancelled_caught:
                    progress.sent(len(data))
                    return True
                if progress.stalled() >= self._stalled or not self.lasts():
                    return False
                self.waiting(1 - behind)
                behind = 1
        finally:
            self.waiting(-behind)

    def waiting(self, more: int) -> None:
        """So many more readers wait for room, or fewer; a subclass may count them."""

    def lasts(self) -> bool:
        """Whether the reader may have more."""
        same = self._edition is None or self._edition == self._services.edition
        return same and not self._services.draining and self.left() > 0

    def left(self) -> float:
        """Seconds until the token expires."""
        return float("inf") if self._ends is None else self._ends - time.time()


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel the answer when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

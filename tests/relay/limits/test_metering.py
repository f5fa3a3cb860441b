"""What metered work leaves behind: nothing that only the garbage collector finds."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from watcher.relay.limits.metering import UsageBill, metered

pytestmark = pytest.mark.anyio


class _Value:
    """What the work holds while it waits."""


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
async def test_work_whose_last_wait_is_cut_off_is_freed_at_once() -> None:
    """What a flood leaves was freed all together, by the collector, and nobody was served meanwhile."""
    held: list[weakref.ref[_Value]] = []

    async def work() -> None:
        value = _Value()
        held.append(weakref.ref(value))
        with anyio.move_on_after(0):
            await anyio.sleep_forever()

    await metered(UsageBill(), work)
    await checkpoint()  # the event loop lets go of what it threw
    assert held[0]() is None

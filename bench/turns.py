"""A worker whose plugin is heard and not heard in turn, every half second, and what that says of its cost.

What is compared lies half a second apart, in one process: a host that takes the processor away for seconds, which moves
a worker's rate by a half from one run to the next, moves both. What is switched is what Celery has to call, so that
without the plugin it sends no signal either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import mean, median
from typing import Any, Final

from celery import signals

from watcher import worker

__all__ = ["compared", "sampled", "take_turns"]

#: Seconds of a turn; those with an even number are with the plugin.
TURN: Final = 0.5
_HEARD: Final = (signals.task_received, signals.task_prerun, signals.task_success)


def take_turns() -> None:
    """From now on, in the worker's processes, only every other turn hears of tasks. The plugin is installed."""
    everything = [(signal, list(signal.receivers)) for signal in _HEARD]

    def run() -> None:
        while True:
            number, spent = divmod(time.time(), TURN)
            for signal, receivers in everything:
                signal.receivers[:] = [] if number % 2 else receivers
            _forget_allowance()
            time.sleep(TURN - spent + 1e-4)

    def start(**_: Any) -> None:
        threading.Thread(target=run, daemon=True).start()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_process_init.connect(start, weak=False)


def _forget_allowance() -> None:
    """What the publisher saved up while there was nothing to publish would be spent in the turns that are measured."""
    plugin = worker._installed  # noqa: SLF001 - only this measurement has turns, so the package has no way to say it
    if plugin is not None and plugin._publisher is not None:  # noqa: SLF001 - as above
        plugin._publisher._outbox._rounds.budget._left = 0.0  # noqa: SLF001 - as above


def sampled(done: Callable[[], int], total: int, patience: float = 120) -> list[tuple[float, int]]:
    """The moment and how many tasks are done at the beginning of each turn, until all are."""
    samples: list[tuple[float, int]] = []
    end = time.monotonic() + patience
    while not samples or samples[-1][1] < total:
        if time.monotonic() > end:
            raise TimeoutError(f"{samples[-1][1] if samples else 0} of {total} tasks are done after {patience} s")
        time.sleep(TURN - time.time() % TURN)
        samples.append((time.time(), done()))
    return samples


def compared(samples: list[tuple[float, int]]) -> dict[str, float]:
    """Tasks a second with and without, and the median of what each turn with is of the mean of its neighbours."""
    rates = [
        (int((since + TURN / 2) / TURN) % 2, (count - before) / (now - since))
        for (since, before), (now, count) in pairwise(samples[:-1])
    ]
    ratios = [
        rate / mean((before[1], after[1]))
        for before, (without, rate), after in zip(rates, rates[1:], rates[2:], strict=False)
        if not without
    ]
    return {
        "with, × without": median(ratios),
        "tasks/s with": mean(rate for without, rate in rates if not without),
        "tasks/s without": mean(rate for without, rate in rates if without),
    }

"""The Celery app that comes with celery-watcher: small tasks that do real work, to watch and to copy from.

    celery -A tasks worker -l info

    >>> from tasks import test
    >>> result = test.delay(7)
    >>> result.get()
    8

Broker and result backend are a Redis on this machine; CELERY_BROKER_URL and CELERY_RESULT_BACKEND name others. It
speaks JSON only: nothing that arrives is ever unpickled, so nobody who can write to the broker can make a worker run
code of theirs, and a worker is safe to run as root (Celery refuses that only where pickle is accepted).
"""

import os
import time
from typing import Any

from celery import Celery, Task, chord, group
from celery.result import GroupResult

import watcher
from tasks.picture import MOST_PIXELS, png, render
from tasks.sieve import count_in_blocks

__all__ = [
    "add",
    "app",
    "count_primes",
    "count_words_of_many",
    "fail",
    "flaky",
    "mandelbrot",
    "mandelbrot_tile",
    "sleep",
    "test",
    "total",
    "word_count",
]

app = Celery(
    "tasks",
    broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/15"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "redis://127.0.0.1:6379/14"),
)
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_track_started=True,  # STARTED is stored too, not only published
    task_soft_time_limit=300,  # seconds: SoftTimeLimitExceeded is raised in the task, which may still tidy up
    task_time_limit=330,  # then its process is killed
    worker_prefetch_multiplier=1,  # tasks run for seconds: a worker takes one when it is free, and leaves the others
    broker_connection_retry_on_startup=True,
)
watcher.install(app)


@app.task
def test(x: int) -> int:
    """Return x + 1: the hello world of task queues."""
    return x + 1


@app.task
def add(x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


@app.task
def word_count(text: str) -> int:
    """Return the number of words in a text."""
    return len(text.split())


@app.task
def total(numbers: list[float]) -> float:
    """Return the sum of many numbers."""
    return sum(numbers)


@app.task
def count_words_of_many(texts: list[str]) -> dict[str, str | None]:
    """Count the words of many texts in parallel, and sum them up: a chord.

    A task must not wait for others, because they may need the very process that waits. So this one returns the ids of
    what it has started: the `total`, and the `group` of the counts that it waits for.
    """
    counted = chord(word_count.s(text) for text in texts)(total.s())
    counts = counted.parent  # None where there was no text to count
    return {"total": counted.id, "group": counts.id if isinstance(counts, GroupResult) else None}


@app.task(bind=True)
def count_primes(self: "Task[..., int]", limit: int = 500_000_000) -> int:
    """Return how many primes there are up to the limit, and report progress on the way."""
    primes = 0
    for current, found in count_in_blocks(limit):
        primes += found
        self.update_state(state="PROGRESS", meta={"current": current, "total": limit, "primes": primes})
    return primes


@app.task
def sleep(seconds: float = 10.0) -> float:
    """Sleep for a while: a task that is easy to catch running, and to revoke."""
    time.sleep(seconds)
    return seconds


@app.task
def fail(message: str = "as you wished") -> None:
    """Fail with this message, so that there is a traceback to look at."""
    raise RuntimeError(message)


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=1, retry_jitter=False, max_retries=5)
def flaky(self: "Task[..., str]", failures: int = 2) -> str:
    """Fail so many times, then succeed: retried after 1, 2, 4, … seconds, five times at most."""
    if self.request.retries < failures:
        raise ConnectionError(f"try {self.request.retries + 1} failed, as the first {failures} do")
    return f"succeeded at try {self.request.retries + 1}"


@app.task
def mandelbrot_tile(left: float, top: float, step: float, size: int = 96) -> dict[str, Any]:
    """Render one square of the Mandelbrot set: its upper left corner, the step from pixel to pixel, its edge in pixels.

    The picture comes back as a data URL, to be opened in any browser.
    """
    if not 1 <= size * size <= MOST_PIXELS:
        raise ValueError(f"size={size}: a tile has at most {MOST_PIXELS} pixels")
    return {"left": left, "top": top, "size": size, "image": png(render(left, top, step, size), size)}


@app.task
def mandelbrot(columns: int = 6, rows: int = 4, size: int = 96) -> dict[str, Any]:
    """Paint the Mandelbrot set: start a group of tiles, row by row, and return the group's id."""
    step = 3.0 / (columns * size)
    left, top = -2.25, rows * size * step / 2
    corners = [
        (left + column * size * step, top - row * size * step) for row in range(rows) for column in range(columns)
    ]
    painting = group(mandelbrot_tile.s(x, y, step, size) for x, y in corners)()
    painting.save()  # so that GroupResult.restore(id) has the tiles, in order
    return {"group": painting.id, "columns": columns, "rows": rows, "size": size}

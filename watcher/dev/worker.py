"""The worker of `watcher up`: Celery's own, in a process that never outlives this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from watcher.dev import ready
from watcher.dev.child import ChildProcess

__all__ = ["Worker", "WorkerOptions"]

# Warm for seven seconds: running tasks finish, and no other is taken. Then cold: Celery ends its pool, and puts back
# what it has not acknowledged yet (tasks with acks_late).
_STEPS: Final = "SIGTERM=7,SIGQUIT=1.5"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What is passed on to ``celery worker``."""

    concurrency: int | None
    pool: str | None
    queues: str | None
    loglevel: str

    def arguments(self) -> list[str]:
        """As ``celery worker`` takes them."""
        named = {
            "--concurrency": self.concurrency,
            "--pool": self.pool,
            "--queues": self.queues,
            "--loglevel": self.loglevel,
        }
        return [f"{name}={value}" for name, value in named.items() if value is not None]


class Worker(ChildProcess):
    """A running ``celery -A PROJ worker``, with the plugin, in the current directory.

    :param outlived_by: servers that it must not outlive.
    """

    def __init__(
        self, app: str, options: WorkerOptions, *, env: Mapping[str, str], outlived_by: Sequence[ChildProcess]
    ) -> None:
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-I", f"watcher.worker,{ready.__name__}"]
        # It is alone on this machine, so it need not wait a second for other workers to say hello.
        command += ["--without-mingle", "--without-gossip", *options.arguments()]
        self._readable, writable = os.pipe()
        try:
            super().__init__(
                command,
                steps=_STEPS,
                env={**env, ready.VARIABLE: str(writable)},
                descriptors=[writable],
                outlived_by=outlived_by,
            )
        except BaseException:
            os.close(self._readable)
            raise
        finally:
            os.close(writable)

    async def ready(self) -> bool:
        """Wait until it takes tasks; False where it has left before. To be called once; safe to cancel."""
        await anyio.wait_readable(self._readable)
        return bool(os.read(self._readable, 1))

    def close(self) -> int:
        """End it, warm and then cold, and return its exit code."""
        code = super().close()
        if self._readable >= 0:
            os.close(self._readable)
            self._readable = -1
        return code

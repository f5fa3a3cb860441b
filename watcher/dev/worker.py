"""The worker of `watcher up`: Celery's own, in a process that ends with this one."""

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

# Signals and seconds. Warm for seven seconds: running tasks finish, no other starts. Then cold: Celery ends its pool,
# and unacknowledged tasks (acks_late) return to the queue.
_STEPS: Final = "SIGTERM=7,SIGQUIT=1.5"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options passed on to ``celery worker``."""

    concurrency: int | None
    pool: str | None
    queues: str | None
    loglevel: str

    def arguments(self) -> list[str]:
        """The options as command-line arguments."""
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
        # It is alone on this machine: no need to wait a second for other workers.
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
        """Wait until the worker is ready; False if it exited before. Call once; safe to cancel."""
        await anyio.wait_readable(self._readable)
        return bool(os.read(self._readable, 1))

    def close(self) -> int:
        """Stop the worker, warm and then cold, and return its exit code."""
        code = super().close()
        if self._readable >= 0:
            os.close(self._readable)
            self._readable = -1
        return code

"""Child processes that never outlive this program, however it ends: the starting side. See guard.py."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from watcher.dev import guard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import IO

__all__ = ["ChildProcess"]

# Seconds that the guard has on top of its steps before it is killed.
_GRACE = 1.0


class ChildProcess:
    """A command that runs under a guard, which ends it when this object is closed or this process dies.

    :param command: program and arguments.
    :param steps: signals and seconds before the command is killed: ``SIGTERM=7,SIGQUIT=1.5``.
    :param output: file of its standard output and standard error; None: this program's standard error.
    :param descriptors: file descriptors that the command inherits under the same numbers. The caller closes its own.
    :param outlived_by: children that must live at least as long when this process dies, such as a client's server.
    :param umask: of the command; -1 is this process's own.
    :raises OSError: the guard can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        steps: str,
        env: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
        descriptors: Sequence[int] = (),
        outlived_by: Sequence[ChildProcess] = (),
        umask: int = -1,
    ) -> None:
        self._seconds = sum(step.seconds for step in guard.parse_steps(steps))
        # The ends of the pipe are inherited only by the guards that get one below.
        lifeline, self.lifeline = os.pipe()
        keep = ",".join(map(str, descriptors)) or "-"
        target = output or sys.stderr.fileno()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(guard.__file__)), steps, keep, *command],
                stdin=lifeline,
                stdout=target,
                stderr=target,
                env=env,
                pass_fds=[*descriptors, *(other.lifeline for other in outlived_by)],
                umask=umask,
                start_new_session=True,  # the terminal's Ctrl-C is for this program; it ends the others in order
            )
        except BaseException:
            os.close(self.lifeline)
            raise
        finally:
            os.close(lifeline)

    @property
    def pid(self) -> int:
        """Process id of the guard; the command is its child."""
        return self._process.pid

    def poll(self) -> int | None:
        """The command's exit code, 128 + N if signal N ended it; None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the command has exited, without asking it to, and return its exit code; see :meth:`close`.

        :param timeout: in seconds.
        :raises subprocess.TimeoutExpired: it still runs.
        """
        return self._process.wait(timeout)

    def release(self) -> None:
        """Ask the command to exit, without waiting. Idempotent."""
        lifeline, self.lifeline = self.lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def hurry(self) -> None:
        """Ask the command to exit at once: only the last step gets its time. Idempotent."""
        self.release()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def close(self) -> int:
        """Ask the command to exit, wait until it has, and return its exit code. Idempotent; the steps bound it."""
        self.release()
        try:
            return self._process.wait(self._seconds + _GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

"""The load generator's other end: starts load.c, waits for its connections, and reads what it has counted."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.building import compiled
from bench.events import FIRST

_PATIENCE = 90.0


@dataclass(frozen=True)
class Subscription:
    """How a client comes to its messages: an address, then what it sends and what has to come before it goes on.

    ``{n}`` stands for the client's number.
    """

    path: str
    steps: tuple[tuple[str, str], ...] = ()
    ping: str = ""
    pong: str = ""


@dataclass
class Generator:
    """So many clients in a process of their own.

    :param window: how many are on their way to their subscription at a time.
    """

    port: int
    clients: int
    subscription: Subscription
    window: int = 64
    subscribed: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._progress = tempfile.NamedTemporaryFile(prefix="bench-")
        self._progress.write(bytes(16))
        self._progress.flush()
        how = self.subscription
        command = [compiled("load"), self.port, self.clients, FIRST, self._progress.name, how.path, self.window]
        command += [how.ping, how.pong, *(text for step in how.steps for text in step)]
        self._process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self._process.pid
        try:
            self.subscribed = self._line()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
        self._progress.close()

    def _line(self) -> dict[str, Any]:
        output = self._process.stdout
        if output is None or not select.select([output], [], [], _PATIENCE)[0]:
            raise RuntimeError(f"the load generator has said nothing for {_PATIENCE:g} s")
        line = output.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with {self._process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said

    @property
    def progress(self) -> Path:
        """The file that tells the publisher how much has arrived."""
        return Path(self._progress.name)

    @property
    def arrived(self) -> int:
        """Messages so far."""
        count: int = struct.unpack("=Q", os.pread(self._progress.fileno(), 8, 0))[0]
        return count

    def mark(self) -> dict[str, Any]:
        """What came since the last mark."""
        if self._process.stdin is None:
            raise RuntimeError("the load generator was not started")
        self._process.stdin.write("mark\n")
        return self._line()

    def wait_for(self, messages: int, *, quiet: float = 3.0, limit: float = 60.0) -> bool:
        """Wait until so many have come, or no more does.

        :param quiet: how long none has to come until none is expected any more, in seconds.
        :param limit: seconds after which nothing is waited for.
        :returns: whether all have come or no more do; False: more would have come.
        """
        before, since = -1, time.monotonic()
        end = since + limit
        while (arrived := self.arrived) < messages and time.monotonic() - since < quiet:
            if time.monotonic() > end:
                return False
            if arrived != before:
                before, since = arrived, time.monotonic()
            time.sleep(0.01)
        return True

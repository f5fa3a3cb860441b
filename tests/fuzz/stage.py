"""What a part of the fuzzing runs against: a real relay with a worker, and a good client that notices everything."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.processes import Program, Relay, relay, worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.journal.layout import Journal

#: Small, so that what was written is soon forgotten, and memory tells of what is not.
JOURNAL = Journal(history=20_000, history_bytes=16 * 2**20)
#: A task is submitted this often while it is fuzzed, in seconds.
_EVERY = 0.5
#: What a relay may keep of what it was sent, in bytes: its history, buffers of the allocator, pages that were touched.
_MEMORY = JOURNAL.history_bytes + 80 * 2**20
_STATES = ["PENDING", "RECEIVED", "STARTED", "SUCCESS"]
#: Who was refused, and which limit was reached, belongs into the log.
_ALWAYS = (r" watcher\.relay\.(limits\.limits|common\.(audit_log|outage)): ",)
_LEVEL = re.compile(r" (WARNING|ERROR|CRITICAL) ")


class Witness:
    """A client that was there all the time, and keeps all it is told of the channel of everything.

    It comes back by itself as an SDK does where a subscription is ended, and never where its connection is.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = iter(range(1, 2**31))
        self._position = {"epoch": "", "offset": 0}
        self._lock = Lock()
        self.states: dict[str, list[str]] = defaultdict(list)
        self.closed: str | None = None
        self.gaps = 0  # how often it was told that something between can not be had
        self._say(connect={})
        self._say(subscribe={"channel": "tasks"})
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _say(self, **command: Any) -> None:
        self._socket.send(json.dumps({"id": next(self._numbers), **command}))

    def _listen(self) -> None:
        try:
            for frame in self._socket:
                for line in (frame if isinstance(frame, str) else frame.decode()).split("\n"):
                    self._take(json.loads(line))
        except ConnectionClosed as error:
            self.closed = str(error)
        else:
            self.closed = "closed"

    def _take(self, message: dict[str, Any]) -> None:
        if not message:
            self._socket.send("{}")
        elif "subscribe" in message:
            reply = message["subscribe"]
            if reply.get("was_recovering") and not reply.get("recovered"):
                self.gaps += 1
            self._position = {"epoch": reply["epoch"], "offset": reply.get("offset", 0)}
            for publication in reply.get("publications", ()):
                self._note(publication)
        elif "unsubscribe" in message.get("push", {}):
            self._say(subscribe={"channel": "tasks", "recover": True, **self._position})
        elif "pub" in message.get("push", {}):
            self._note(message["push"]["pub"])

    def _note(self, publication: dict[str, Any]) -> None:
        event = publication["data"]
        self._position["offset"] = publication["offset"]
        with self._lock:
            if event["state"] not in self.states[event["id"]]:
                self.states[event["id"]].append(event["state"])

    def saw(self, identity: str) -> list[str]:
        """The states that it was told of a task."""
        with self._lock:
            return list(self.states.get(identity, ()))

    def close(self) -> None:
        """Leave."""
        self._socket.close()
        self._thread.join(5)


@dataclass
class Stage:
    """What runs, and what has been submitted meanwhile."""

    relay: Relay
    valkey: Valkey
    witness: Witness
    sent: list[str] = field(default_factory=list)
    memory: int = 0
    unavailable: int = 0
    _last: float = 0.0

    @property
    def address(self) -> tuple[str, int]:
        """Where the relay listens."""
        parts = urlsplit(self.relay.url)
        return str(parts.hostname), int(parts.port or 0)

    def breathe(self) -> None:
        """Call between two cases: tasks go on meanwhile."""
        if time.monotonic() - self._last > _EVERY:
            self._last = time.monotonic()
            self.submit()
        if not self.memory and len(self.sent) > 3:
            self.memory = self.rss()  # warm by now
        assert self.relay.process.poll() is None, f"the relay is gone\n{self.relay.output}"

    def submit(self) -> str:
        """Submit a task, as a good client does over HTTP."""
        identity = f"good-{uuid.uuid4()}"
        body = json.dumps({"task": "tasks.add", "args": [2, 3], "options": {"task_id": identity}}).encode()
        request = Request(f"{self.relay.url}/api/tasks", body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=10) as answer:
                assert answer.status == 202
        except HTTPError as error:
            with error:
                told = f"a good task is refused: {error.read().decode()}\n{self.relay.output[-4000:]}"
            raise AssertionError(told) from None
        self.sent.append(identity)
        return identity

    def get(self, path: str) -> int:
        """The status of what is answered to a request."""
        status = self._ask(Request(f"{self.relay.url}{path}"))
        self.unavailable += status >= 500
        return status

    def post(self, path: str, body: Any) -> int:
        """The same of one with a body."""
        data = json.dumps(body).encode()
        return self._ask(Request(f"{self.relay.url}{path}", data, {"Content-Type": "application/json"}))

    @staticmethod
    def _ask(request: Request) -> int:
        try:
            with urlopen(request, timeout=15) as answer:
                answer.read()
                return int(answer.status)
        except HTTPError as error:
            with error:
                said = error.read()
                if error.code >= 500:  # allowed or not
                    why = f"{request.selector}: {said.decode()}"
                    print(why, file=sys.stderr)  # noqa: T201 - pytest shows it with a test that fails
                return int(error.code)

    def settle(self) -> None:
        """Wait until the good client was told of all that was submitted."""

        def missing() -> dict[str, list[str]]:
            seen = {identity: self.witness.saw(identity) for identity in self.sent}
            lacking = {identity: states for identity, states in seen.items() if sorted(states) != sorted(_STATES)}
            if self.witness.gaps:  # it was told that something can't be had, and asks where the tasks are
                lacking = {
                    identity: states for identity, states in lacking.items() if not self._has_succeeded(identity)
                }
            return lacking

        with suppress(AssertionError):
            wait_for(lambda: not missing(), timeout=10, what="the good client to be told of all tasks")
        assert not missing(), f"{missing()}\n{self.relay.output[-4000:]}"

    def _has_succeeded(self, identity: str) -> bool:
        with urlopen(f"{self.relay.url}/api/tasks/{identity}", timeout=10) as answer:
            return bool(json.load(answer)["state"] == "SUCCESS")

    def rss(self) -> int:
        """The relay's memory, in bytes."""
        status = Path(f"/proc/{self.relay.pid}/status")
        if not status.exists():  # no Linux
            return 0
        return int(status.read_text().partition("VmRSS:")[2].split()[0]) * 1024

    def judge(self, *expected: str) -> None:
        """The relay is as good as new, the good client noticed nothing, and the log says nothing that isn't expected.

        :param expected: regular expressions of the warnings that may be in the log.
        """
        self.submit()
        self.settle()
        assert self.witness.closed is None, self.witness.closed
        assert self.relay.ready(), self.relay.output[-4000:]
        said = self.relay.output
        assert "Traceback" not in said, said[said.index("Traceback") - 500 :][:4000]
        for line in said.splitlines():
            level = _LEVEL.search(line)
            if level:
                known = level[1] == "WARNING" and any(re.search(pattern, line) for pattern in (*_ALWAYS, *expected))
                assert known, f"not expected in the log: {line[:1000]}"
        # Redis may be held up by what it is given to store. A fault of the relay's would show again and again.
        assert self.unavailable <= 3, f"{self.unavailable} times it couldn't answer"
        grown = self.rss() - self.memory if self.memory else 0
        told = f"{len(self.sent)} good tasks, memory {grown / 2**20:+.1f} MiB"
        print(told, file=sys.stderr)  # noqa: T201 - pytest shows it with a test that fails
        assert grown < _MEMORY, f"the relay has grown by {grown / 2**20:.0f} MiB"


@contextmanager
def stage() -> Iterator[Stage]:
    """A relay with a worker and a server of their own, for the time of a `with` block."""
    with ExitStack() as exits:
        server = exits.enter_context(valkey_server())
        places = {
            "CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14),
            "WATCHER_REDIS_URL": server.url(),
            "WATCHER_HISTORY": str(JOURNAL.history), "WATCHER_HISTORY_BYTES": str(JOURNAL.history_bytes),
        }  # fmt: skip
        _: Program = exits.enter_context(worker("tasks", "--without-heartbeat", pool="threads", env=places))
        running = exits.enter_context(relay("tasks", env=places))
        options: dict[str, Any] = {"max_size": None, "compression": None, "ping_interval": None}
        witness = Witness(exits.enter_context(connect(running.ws_url, **options)))
        exits.callback(witness.close)
        yield Stage(running, server, witness)


class Caller:
    """A connection to the port of which nothing good is to be expected."""

    def __init__(self, address: tuple[str, int], timeout: float = 5.0) -> None:
        self._socket = socket.create_connection(address, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def say(self, data: bytes) -> bool:
        """Send; False where the other side has had enough."""
        try:
            self._socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def hang_up(self) -> bytes:
        """Say that nothing more comes, and hear what is still said: all that was heard.

        :raises AssertionError: the other side doesn't end the connection.
        """
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        while self.hear():
            pass
        return self.heard

    def hear(self) -> bool:
        """Wait for more; False at the end."""
        try:
            more = self._socket.recv(65536)
        except ConnectionError:
            return False
        except TimeoutError:
            raise AssertionError(f"neither answered nor ended within 5 s; heard {self.heard[-500:]!r}") from None
        self.heard += more
        return bool(more)

    def hear_until(self, mark: bytes) -> bool:
        """Wait for ``mark``; False where the connection ends before."""
        while mark not in self.heard:
            if not self.hear():
                return False
        return True

"""What people use or write instead, each a small program in bench/servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.building import CACHE, HERE, node, peers_python
from bench.generator import Subscription
from bench.peers.base import Serving, listening
from tests.support.processes import free_port
from tests.support.valkey import Valkey

_SERVERS = HERE / "servers"


def _plain(channel: str) -> Subscription:
    return Subscription(f"/sub/{channel}", (("", "subscribed"),))


def _socketio(channel: str) -> Subscription:
    # Engine.IO 4 in front of Socket.IO: "0" opens, "40" connects to the namespace, "42" is an event, "2" and "3" ping.
    steps = (("", "0{"), ("40", "40{"), (f'42["subscribe","{channel}"]', '42["subscribed"'))
    return Subscription("/socket.io/?EIO=4&transport=websocket", steps, ping="2", pong="3")


@dataclass(frozen=True)
class Other:
    """A server in a language's own environment.

    :param program: file in bench/servers, which is given its port and the URL of Redis.
    :param packages: those whose versions are told.
    :param way: how it is published to.
    """

    name: str
    program: str
    packages: tuple[str, ...]
    way: str = "pubsub"
    subscription: Callable[[str], Subscription] = _plain

    def prepare(self) -> str:
        if self.program.endswith(".js"):
            version = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
            installed = [_npm_version(package) for package in self.packages]
            return f"{', '.join(installed)} (node {version})"
        code = "import importlib.metadata as m, sys; print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
        return subprocess.run(
            [peers_python(), "-c", code, *self.packages], capture_output=True, text=True, check=True
        ).stdout.strip()

    @contextmanager
    def serve(self, valkey: Valkey) -> Iterator[Serving]:
        port, script = free_port(), self.program.endswith(".js")
        interpreter = node() if script else peers_python()
        # Node looks for packages from the program's folder upwards.
        env = {"NODE_PATH": str(CACHE / "node_modules")}
        with listening(port, interpreter, str(_SERVERS / self.program), str(port), valkey.url(), env=env) as running:
            yield Serving(
                port=port, pid=running.pid, way=self.way, address=valkey.url(), python=self._publishers_python(),
                fan_out=self.subscription("all"), unicast=self.subscription("task-{n}"),
            )  # fmt: skip

    def _publishers_python(self) -> str:
        return peers_python() if self.way in ("socketio", "channels") else Serving.python


def _npm_version(package: str) -> str:
    manifest = json.loads((CACHE / "node_modules" / package / "package.json").read_text())
    return f"{package} {manifest['version']}"


OTHERS = (
    Other("websockets", "broadcast.py", ("websockets", "redis")),
    Other("starlette", "starlette_relay.py", ("starlette", "uvicorn", "websockets", "redis")),
    Other("python-socketio", "socketio_server.py", ("python-socketio", "uvicorn"), "socketio", _socketio),
    Other("channels", "channels_relay.py", ("channels", "channels_redis", "uvicorn"), "channels"),
    Other("node-ws", "ws.js", ("ws", "redis")),
    Other("socket.io", "socketio.js", ("socket.io", "@socket.io/redis-adapter"), "emitter", _socketio),
)

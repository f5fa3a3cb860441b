"""Debian's packages, where apt-get may be asked: as root, or by sudo without a password. The standard library only."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 600


def usable() -> bool:
    """Whether packages can be had."""
    return shutil.which("apt-get") is not None and _elevation() is not None


def install(package: str) -> None:
    """Install it, with what it needs and no more; where that can't be, nothing happens."""
    with _alone():
        if usable() and _updated():
            _apt_get("install", "-q", "-y", "--no-install-recommends", package)


def unpack(packages: str, folder: Path) -> None:
    """Put their files below a folder, and install nothing: a server's package would start the server as well.

    What they need is not brought: whether a program starts, the caller sees.

    :param packages: names, separated by spaces.
    """
    with _alone(), tempfile.TemporaryDirectory() as fetched:
        if not (usable() and _updated()):
            return
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "-q", "download", *packages.split()], fetched)
        for file in Path(fetched).glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(file), str(folder)], fetched)


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time: tests run in several, and apt-get fails where another one has its lists."""
    with (Path(sys.prefix) / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _updated() -> bool:
    """Whether the lists of packages are of this hour; they are fetched where they aren't."""
    stamp = Path(sys.prefix) / "apt.updated"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < 3600:
        return True
    if not _apt_get("update", "-q"):
        return False
    stamp.touch()
    return True


def _elevation() -> list[str] | None:
    """What a command is to be prefixed with to run as root; None where that takes a password."""
    if os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["sudo", "-n"]
    return None


def _apt_get(*arguments: str) -> bool:
    return _run([*(_elevation() or []), "apt-get", *arguments])


def _run(command: list[str], folder: str | None = None) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ended = subprocess.run(command, stdout=sys.stderr, cwd=folder, env=environment, timeout=_SECONDS, check=False)
    return ended.returncode == 0

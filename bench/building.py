"""What has to be built or installed before a run, once, into ``bench/.cache``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"

#: The Python peers live in an environment of their own.
PYTHON_PACKAGES = (
    "redis[hiredis]",
    "websockets",
    "uvicorn",
    "uvloop",
    "httptools",
    "starlette",
    "python-socketio",
    "channels",
    "channels_redis",
    "django",
)
NODE_PACKAGES = ("ws", "redis", "socket.io", "@socket.io/redis-adapter")


class Unavailable(Exception):
    """A peer can't be had on this machine; the message says why."""


def compiled(name: str) -> str:
    """Path of the program made from ``name``.c.

    :raises Unavailable: there is no C compiler, or it refuses.
    """
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    program = CACHE / f"{name}-{digest}"
    if not program.exists():
        if shutil.which("cc") is None:
            raise Unavailable("there is no C compiler (cc)")
        CACHE.mkdir(exist_ok=True)
        _run(["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)])
    return str(program)


def peers_python() -> str:
    """Interpreter of the environment in which the Python peers are installed.

    :raises Unavailable: they can't be installed.
    """
    environment = CACHE / "venv"
    python, mark = environment / "bin" / "python", environment / ".installed"
    wanted = " ".join(PYTHON_PACKAGES)
    if not mark.exists() or mark.read_text() != wanted:
        CACHE.mkdir(exist_ok=True)
        _run([sys.executable, "-m", "venv", str(environment)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON_PACKAGES])
        mark.write_text(wanted)
    return str(python)


def node() -> str:
    """Path of node, with the packages of the JavaScript peers installed below :data:`CACHE`.

    :raises Unavailable: there is no node or npm, or the packages can't be installed.
    """
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        raise Unavailable("node and npm are not installed")
    mark = CACHE / "node_modules" / ".installed"
    wanted = " ".join(NODE_PACKAGES)
    if not mark.exists() or mark.read_text() != wanted:
        CACHE.mkdir(exist_ok=True)
        _run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE), *NODE_PACKAGES])
        mark.write_text(wanted)
    return program


def nginx() -> str:
    """Path of an nginx that has the nchan module.

    :raises Unavailable: it is not installed.
    """
    program = shutil.which("nginx")
    if program is None or not NCHAN.exists():
        raise Unavailable("nginx with nchan is not installed (Debian: nginx-light and libnginx-mod-nchan)")
    return program


NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{Path(command[0]).name} failed: {said[-1] if said else done.returncode}")

"""Finds an nginx for the tests of what the documents show of one, or brings it, and runs it on a port of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support import apt
from tests.support.processes import Program, free_port
from tests.support.waiting import wait_for

#: Where it is unpacked: nothing is installed, and the machine gets no server that it hadn't.
_FOLDER: Final = Path(sys.prefix) / "nginx"
_ADVICE: Final = (
    "no nginx with its auth_request module: install one (Debian: apt-get install nginx), or set NGINX to its path"
)
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find() -> str | None:
    """Path of an nginx that starts and can ask another server who somebody is, or None."""
    named = os.environ.get("NGINX")
    # A user's PATH has no sbin.
    usual = [shutil.which("nginx"), "/usr/sbin/nginx", str(_FOLDER / "usr/sbin/nginx")]
    return next((path for path in ([named] if named else usual) if path and _starts(path)), None)


def _starts(path: str) -> bool:
    try:
        answer = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return answer.returncode == 0 and "http_auth_request_module" in answer.stderr


def bring() -> str:
    """Path of an nginx, unpacked for the purpose where there was none.

    :raises FileNotFoundError: none can be had; with one line that says what to do.
    """
    if path := find():
        return path
    if os.environ.get("NGINX"):
        raise FileNotFoundError(f"NGINX={os.environ['NGINX']} doesn't start; {_ADVICE}")
    apt.unpack("nginx", _FOLDER)
    if path := find():
        return path
    raise FileNotFoundError(_ADVICE)


class Nginx(Program):
    """A running nginx."""

    url = ""


@contextmanager
def nginx(path: str, folder: Path, server: str) -> Iterator[Nginx]:
    """An nginx on a port of 127.0.0.1, in one process and as the user of the tests.

    :param path: of the program, see :func:`bring`.
    :param folder: an empty one, for its configuration and what it stores for a while.
    :param server: what its ``server { … }`` has in it.
    """
    port = free_port()
    stored = "\n".join(f"    {name}_temp_path {folder / name};" for name in _TEMPORARY)
    (folder / "nginx.conf").write_text(
        "daemon off;\nmaster_process off;\nerror_log stderr info;\n"
        f"pid {folder / 'pid'};\nevents {{}}\nhttp {{\n    access_log off;\n{stored}\n"
        f"    server {{\n        listen 127.0.0.1:{port};\n{server}\n    }}\n}}\n",
        encoding="utf-8",
    )
    command = [path, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    running = Nginx(command)
    try:
        running.url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(running, port), what="nginx to listen")
        yield running
    finally:
        running.close()


def _answers(running: Program, port: int) -> bool:
    assert running.process.poll() is None, running.output
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

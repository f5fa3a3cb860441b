"""Finds a Chromium for the page's tests, or brings one: `python -m tests.support.chromium` prints its path.

`python -m tests.support.chromium shell` does the same with its shell, see below.

Looked at in this order: $CHROME, an installed Chromium or Chrome, one that Playwright has downloaded. Where there is
none: apt-get, as root or by sudo without a password, else Playwright's own download. The standard library only, so
that it runs before anything is installed; Playwright is a program that it calls.

Beside the browser there is its shell without a window: the same engine, network and policies, for a third of the
processor time a page, since it makes no window and no profile. Debian's is unpacked below the virtual environment.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import apt

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC_BUNDLES = (
    "Chromium.app/Contents/MacOS/Chromium",
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_ADVICE = "no Chromium for the page's tests: install one (Debian: apt-get install chromium), or set CHROME to its path"
_SECONDS = 600
_SHELLS = ("chromium-headless-shell", "chrome-headless-shell")
_SHELL_FOLDER = Path(sys.prefix) / "chromium-shell"


def find() -> str | None:
    """Path of a Chromium that starts, or None."""
    for path in _candidates():
        if _starts(path):
            return path
    return None


def _candidates() -> list[str]:
    named = os.environ.get("CHROME")
    if named:
        return [named]
    on_path = [path for name in _NAMES if (path := shutil.which(name))]
    folders = (Path("/Applications"), Path.home() / "Applications")
    bundles = [str(folder / bundle) for folder in folders for bundle in _MAC_BUNDLES if (folder / bundle).exists()]
    downloaded = _playwright_path()
    return [*on_path, *bundles, *([downloaded] if downloaded else [])]


def _starts(path: str) -> bool:
    # Ubuntu's chromium-browser may be a stub that only says "install the snap".
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "snap install" not in answer.stdout + answer.stderr


def _playwright_path() -> str | None:
    program = "from playwright.sync_api import sync_playwright as p\nwith p() as x: print(x.chromium.executable_path)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    path = answer.stdout.strip()
    return path if path and Path(path).exists() else None


def _by_apt() -> None:
    apt.install("chromium")


def _by_playwright() -> None:
    # Its libraries come by the system's package manager, which takes root.
    libraries = ["--with-deps"] if apt.usable() else []
    command = [sys.executable, "-m", "playwright", "install", *libraries, "chromium"]
    subprocess.run(command, stdout=sys.stderr, timeout=_SECONDS, check=False)


def bring() -> str:
    """Path of a Chromium, installed for the purpose where there was none.

    :raises SystemExit: none can be had; with one line that says what to do.
    """
    if path := find():
        return path
    if os.environ.get("CHROME"):
        sys.exit(f"CHROME={os.environ['CHROME']} doesn't start; {_ADVICE}")
    for way in (_by_apt, _by_playwright):
        way()
        if path := find():
            return path
    sys.exit(_ADVICE)


def bring_shell() -> str:
    """Path of a Chromium without a window, unpacked for the purpose where there was none; of a whole one at worst.

    :raises SystemExit: neither can be had; with one line that says what to do.
    """
    if named := os.environ.get("CHROME_SHELL"):
        return named
    unpacked = _SHELL_FOLDER / "usr/lib/chromium/chromium-headless-shell"
    with _SHELL_FOLDER.with_suffix(".lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = [path for name in _SHELLS if (path := shutil.which(name))]
        if not (installed or _SHELL_FOLDER.exists()):
            fresh = _SHELL_FOLDER.with_suffix(".fresh")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()  # even if it stays empty: what can't be had is asked for once
            apt.unpack("chromium-headless-shell chromium-common", fresh)
            fresh.rename(_SHELL_FOLDER)
    return next((path for path in (*installed, str(unpacked)) if _starts(path)), None) or bring()


if __name__ == "__main__":
    print(bring_shell() if sys.argv[1:] == ["shell"] else bring())  # noqa: T201 - its output is its answer

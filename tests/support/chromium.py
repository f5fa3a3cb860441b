"""Finds a Chromium for the page's tests, or brings one: `python -m tests.support.chromium` prints its path.

Looked at in this order: $CHROME, an installed Chromium or Chrome, one that Playwright has downloaded. Where there is
none: apt-get, as root or by sudo without a password, else Playwright's own download. The standard library only, so
that it runs before anything is installed; Playwright is a program that it calls.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    print(bring())  # noqa: T201 - its output is its answer

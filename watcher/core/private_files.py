"""Private files and directories: making them, and finding those that other users can open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UMASK", "exposure", "make_private"]

#: umask of a program with private files: its directories get 0700, its files 0600.
UMASK = 0o077
_DIRECTORY = 0o700
_FILE = 0o600


def make_private(directory: Path) -> list[str]:
    """Make a directory, and missing ones above it, for this user only, and close all files in it to others.

    Symbolic links in it, and files of other users, are left alone.

    :param directory: one that holds nothing but private data.
    :returns: what is still open to others, one line each.
    :raises OSError: it can't be made, or is not a directory.
    """
    for missing in reversed([parent for parent in (directory, *directory.parents) if not parent.exists()]):
        missing.mkdir(mode=_DIRECTORY, exist_ok=True)
    if not directory.is_dir():
        raise NotADirectoryError(20, "it is not a directory", str(directory))
    wrong = []
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode) or path == directory:
            wrong += _tightened(path)
    return wrong


def _tightened(path: Path) -> list[str]:
    status = path.stat()
    if status.st_uid != os.geteuid():
        return [f"{path} belongs to another user, who can read and change its contents"]
    if not stat.S_IMODE(status.st_mode) & UMASK:
        return []
    try:
        path.chmod(_DIRECTORY if stat.S_ISDIR(status.st_mode) else _FILE)
    except OSError as error:
        return [f"{path} is open to other users, and its permissions can't be changed: {error.strerror}"]
    # Some file systems accept the call but change nothing.
    return [f"{path} is still open to other users"] if stat.S_IMODE(path.stat().st_mode) & UMASK else []


def exposure(path: str | Path, *, secret: bool = True) -> str | None:
    """How other users of the machine can open a file, in a few words; None if they can't, or there is no file.

    :param secret: whether they must not even read it.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    if mode & stat.S_IWOTH:
        return "can be changed by every user of this machine"
    return "can be read by every user of this machine" if secret and mode & stat.S_IROTH else None

"""Files and directories that are nobody's but one's own: made so, or told of where they are not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["UMASK", "exposure", "make_private"]

#: What a program that keeps private files is started with: directories get 0700, files 0600.
UMASK = 0o077
_DIRECTORY = 0o700
_FILE = 0o600


def make_private(directory: Path) -> list[str]:
    """Make a directory, with those above it that are not there, for this user alone; and so all files that are in it.

    Symbolic links within it are left as they are, and so is what belongs to somebody else.

    :param directory: one that holds nothing but what is to be private.
    :returns: what is still open to others, in a line each.
    :raises OSError: it can't be made, or is no directory.
    """
    for missing in reversed([each for each in (directory, *directory.parents) if not each.exists()]):
        missing.mkdir(mode=_DIRECTORY, exist_ok=True)
    if not directory.is_dir():
        raise NotADirectoryError(20, "it is not a directory", str(directory))
    wrong = []
    for path in (directory, *directory.rglob("*")):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode) or path == directory:
            wrong += _tightened(path)
    return wrong


def _tightened(path: Path) -> list[str]:
    found = path.stat()
    if found.st_uid != os.geteuid():
        return [f"{path} belongs to another user, who can read and change its contents"]
    if not stat.S_IMODE(found.st_mode) & UMASK:
        return []
    try:
        path.chmod(_DIRECTORY if stat.S_ISDIR(found.st_mode) else _FILE)
    except OSError as error:
        return [f"{path} is open to other users, and its permissions can't be changed: {error.strerror}"]
    # There are file systems that take it and change nothing.
    return [f"{path} is still open to other users"] if stat.S_IMODE(path.stat().st_mode) & UMASK else []


def exposure(path: str | Path, *, secret: bool = True) -> str | None:
    """How every user of the machine gets at a file, in a few words; None where they don't, or where there is no file.

    :param secret: whether it is not even to be read.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    if mode & stat.S_IWOTH:
        return "can be changed by every user of this machine"
    return "can be read by every user of this machine" if secret and mode & stat.S_IROTH else None

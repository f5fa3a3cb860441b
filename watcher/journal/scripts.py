"""The scripts that Redis runs: the files in ``lua/``; :mod:`watcher.journal.layout` has their keys and arguments.

An entry of the stream holds the events of one writer that were appended together, up to a few dozen: ``e`` their lines,
``n`` how many (absent: one), ``b`` the bytes of all entries before it, ``o`` which of them unfinished tasks were known
by when it was written (absent: none), as MessagePack: position in the entry, field of ``open:lines``, and so on. Its id
is ``EPOCH-OFFSET`` of its last event. What a command costs is for the most part its call from Lua, so that one for each
event would take most of an append's time.

Of an unfinished task's newest event of each rank, ``open:lines`` has the offset. The line follows when the entry leaves
the stream: most tasks have ended by then, and their lines were never written twice.

Anybody may have written to these keys: what is missing or strange counts as nothing, for an error would stop all
appending.

Redis runs a script as one text. So what two of them need is a file of local functions, put before theirs. Their text is
their name there (EVALSHA): processes of two versions each load and call their own, on the same keys.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

__all__ = ["APPEND", "BEAT", "BEGIN", "CLAIM", "KNOWN", "RELEASE", "RENEW", "YOUNG", "sha_of"]


def _script(*names: str) -> str:
    """A script's text: these files, in order."""
    return "\n".join((resources.files("watcher") / f"{name}.lua").read_text("utf-8") for name in names)


_ENTRY: Final = "journal/lua/entry"
_POSITION: Final = "journal/lua/position"
_ORDER: Final = "core/order"  # beside the same rules in words

#: Append a batch, keep what is known of its tasks, trim the stream, publish.
APPEND: Final = _script(_ENTRY, _POSITION, _ORDER, "journal/lua/append")
#: Say where the journal stands; begin one where there is none, or one that was rewound anew.
BEGIN: Final = _script(_ENTRY, _POSITION, "journal/lua/begin")
#: The events that unfinished tasks are known by.
KNOWN: Final = _script(_ENTRY, "journal/lua/known")
#: A worker's sign of life.
BEAT: Final = _script("journal/lua/beat")
#: A submission's claim to a task id.
CLAIM: Final = _script("journal/lua/claim")
#: Renew a lease, or give it back; only its holder can.
RENEW: Final = _script("journal/lua/renew")
RELEASE: Final = _script("journal/lua/release")
#: The keys of a result backend that were written recently.
YOUNG: Final = _script("journal/lua/young")


def sha_of(script: str) -> str:
    """The SHA-1 by which EVALSHA calls a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

"""Memory that was needed for a moment, given back to the operating system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

__all__ = ["give_back"]


def give_back() -> None:
    """Have the C library return what is free; nothing where it can't be told to.

    Reading a whole journal takes several times what stays of it, in pieces of all sizes. Of what is free between those
    that stay, glibc returns nothing by itself (mallopt(3), M_TRIM_THRESHOLD: only the heap's top).
    """
    with suppress(AttributeError, OSError):  # musl, macOS
        ctypes.CDLL(None).malloc_trim(0)

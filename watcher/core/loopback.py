"""Whether a name or an address leads to this machine only. Pure."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

__all__ = ["is_loopback"]

#: Longest host name, in characters (RFC 1035, 2.3.4): it bounds the cache of names.
_LONGEST: Final = 300


def is_loopback(name: str) -> bool:
    """Whether a host name or address is of this machine only (RFC 6761, 6.3; RFC 1122, 3.2.1.3).

    :param name: without a port; an IPv6 address with or without brackets.
    """
    return len(name) <= _LONGEST and _is_loopback(name)


@functools.lru_cache(maxsize=128)
def _is_loopback(name: str) -> bool:
    name = name.lower().strip("[]").removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # only IPv6 addresses have it
    return (mapped or address).is_loopback

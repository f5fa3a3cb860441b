"""Where the two ends of a connection are."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["local_address", "remote_address"]


def remote_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Host and port of the client; None where it has none, as over a Unix socket, or is gone."""
    return _host_and_port(transport, "getpeername")


def local_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Host and port that it has connected to; None as above."""
    return _host_and_port(transport, "getsockname")


def _host_and_port(transport: asyncio.BaseTransport, method: str) -> tuple[str, int] | None:
    socket: Any = transport.get_extra_info("socket")
    try:
        name = getattr(socket, method)() if socket is not None else None
    except OSError:
        return None
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None

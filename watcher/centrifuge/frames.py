"""WebSocket frames as a server sends them (RFC 6455, 5.2): built once, for however many clients. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from watcher.centrifuge.protocol import EMPTY

__all__ = ["PIECE", "PING", "frame", "frames"]

#: What a client that is behind is fed at a time, and about how large a frame gets. In bytes.
PIECE: Final = 64 * 1024


def frame(payload: bytes) -> bytes:
    """A server's text frame around ``payload`` (RFC 6455, 5.2: unmasked, FIN set)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def frames(texts: Sequence[bytes]) -> bytes:
    """Text frames that hold ``texts``, a line each, as many in one as make about 64 KiB."""
    if len(texts) == 1:
        return frame(texts[0])
    built, start, size = [], 0, 0
    for index, text in enumerate(texts):
        size += len(text) + 1
        if size >= PIECE:
            built.append(frame(b"\n".join(texts[start : index + 1])))
            start, size = index + 1, 0
    if start < len(texts):
        built.append(frame(b"\n".join(texts[start:])))
    return b"".join(built)


#: The relay's ping: in the Centrifuge protocol an empty message.
PING: Final = frame(EMPTY)

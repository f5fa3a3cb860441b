"""What relay and client have to agree on: the Centrifuge client protocol, JSON, version 2, as far as both say it. Pure.

What only the relay says is in :mod:`watcher.centrifuge.messages`, with all errors and codes, and what only a client
does in :mod:`watcher.centrifuge.client_messages`.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

__all__ = ["EMPTY", "FRAME_BYTES", "PATH", "SUBSCRIBE_AGAIN", "is_terminal", "numbered", "socket_url"]

#: Where the WebSocket is, below the relay's own path.
PATH: Final = "/connection/websocket"
#: The empty message: a ping of the relay's, a pong of the client's.
EMPTY: Final = b"{}"
#: Largest frame that a client sends, in bytes: a relay takes four times that, and may be told to take less.
FRAME_BYTES: Final = 60 * 1024
#: A subscription that is ended with this code, or a greater one, is to be made again.
SUBSCRIBE_AGAIN: Final = 2500

_encoder = msgspec.json.Encoder()


def numbered(identity: int, kind: str, body: Any) -> bytes:
    """A command or its reply, which have the same form: ``kind`` with a number.

    :param body: its object; ``Raw`` parts of it are put in as they are.
    """
    return b'{"id":%d,"%s":%s}' % (identity, kind.encode("ascii"), _encoder.encode(body))


def is_terminal(code: int) -> bool:
    """Whether a close code says not to come back: 3500-3999 and 4500-4999, as the protocol has it."""
    return 3500 <= code < 4000 or 4500 <= code < 5000


def socket_url(url: str) -> str:
    """The address of the WebSocket of a relay at ``url``, which may be http(s):// or ws(s)://, below a path or not.

    :raises ValueError: it is none.
    """
    parts = urlsplit(url.strip())
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url!r} is not the address of a relay, such as http://127.0.0.1:5556")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith(PATH) else path + PATH, parts.query, ""))

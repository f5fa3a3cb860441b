"""The socket that a relay listens on."""

from __future__ import annotations

import socket
from contextlib import closing

from watcher.cli.port import listen


def test_the_kernel_keeps_little_for_a_client_that_does_not_read() -> None:
    """Else some hundred of them use up what TCP may have, and everybody else's packets are dropped."""
    with closing(listen("127.0.0.1", 0)) as listening, closing(socket.create_connection(listening.getsockname())):
        listening.setblocking(True)
        connection, _ = listening.accept()
        with closing(connection):
            connection.setblocking(False)
            sent = 0
            try:
                while sent < 64 * 1024 * 1024:
                    sent += connection.send(bytes(64 * 1024))
            except BlockingIOError:
                pass
            size = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert size <= 512 * 1024
    assert sent < 8 * 1024 * 1024  # what the client's own side holds is among it


def test_what_is_sent_leaves_at_once() -> None:
    """Nagle's algorithm would keep a small frame until the client has acknowledged the one before."""
    with closing(listen("127.0.0.1", 0)) as listening, closing(socket.create_connection(listening.getsockname())):
        listening.setblocking(True)
        connection, _ = listening.accept()
        with closing(connection):
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

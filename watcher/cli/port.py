"""The relay's listening socket, bound here so that a taken port is an error of the command line's own."""

from __future__ import annotations

import errno
import socket

from watcher.core.errors import SettingError
from watcher.core.settings import Settings

__all__ = ["address_of", "listen", "listen_nearby"]

_BACKLOG = 2048
_PORTS_TO_TRY = 100
#: What the kernel keeps for one client that takes too little, in bytes; it passes from the listening socket to each
#: connection. Left alone it keeps up to 4 MiB for each, and some hundred such clients use up what TCP may have
#: altogether (tcp(7), tcp_mem): then everybody's packets are dropped.
_SEND_BUFFER = 256 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    :raises SettingError: the port is taken or not permitted, or the host is none of this machine's.
    """
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise SettingError("WATCHER_HOST", host, f"{error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingError("WATCHER_HOST", host, "this machine has no such address") from error
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise SettingError("WATCHER_PORT", port, f"{reason}; another one can be named by --port") from error


def listen_nearby(host: str, port: int) -> socket.socket:
    """The same, but a taken port makes way for the next one that is free."""
    for candidate in range(port, min(port + _PORTS_TO_TRY, 65535)):
        try:
            return _bind(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                break
    return listen(host, port)


def address_of(sock: socket.socket, settings: Settings) -> str:
    """The URL of the relay that listens on this socket."""
    host = settings.host
    return f"{'https' if settings.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}/"


def _bind(host: str, port: int) -> socket.socket:
    # IPv4 first: where a name has both, as localhost does, everybody's clients try that one too.
    found = sorted(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM), key=lambda info: info[0])
    family, _, _, _, address = found[0]
    sock = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    # Both pass to each connection: what is sent leaves at once, without Nagle's delay.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setblocking(False)
    return sock

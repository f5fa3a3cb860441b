"""The relay's listening socket, bound by the command line so that a taken port is its own clear error."""

from __future__ import annotations

import errno
import socket

from watcher.core.errors import SettingError
from watcher.core.settings import Settings

__all__ = ["address_of", "listen", "listen_nearby"]

#: Connections that wait to be accepted.
_BACKLOG = 2048
#: Ports that :func:`listen_nearby` tries, one after the other.
_PORTS_TO_TRY = 100
#: Bytes that the kernel buffers for one slow client; connections inherit it from the listening socket. By default the
#: kernel buffers up to 4 MiB each, so some hundred slow clients use up TCP's memory (tcp(7), tcp_mem) and packets of
#: all connections are dropped.
_SEND_BUFFER = 256 * 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this address; port 0 means any free one.

    :raises SettingError: the port is taken or not permitted, or this machine doesn't have the address.
    """
    try:
        return _bind(host, port)
    except socket.gaierror as error:
        raise SettingError("WATCHER_HOST", host, f"{error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingError("WATCHER_HOST", host, "this machine has no such address") from error
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise SettingError("WATCHER_PORT", port, f"{reason}; choose another one with --port") from error


def listen_nearby(host: str, port: int) -> socket.socket:
    """The same, but where the port is taken, the next free one."""
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
    # IPv4 first: where a name has both, as localhost does, clients try it too.
    infos = sorted(socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM), key=lambda info: info[0])
    family, _, _, _, address = infos[0]
    sock = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    # Connections inherit both. TCP_NODELAY: data is sent at once, without Nagle's delay.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setblocking(False)
    return sock

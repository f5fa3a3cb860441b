"""Who sends a request and what it asks for, according to the connection or to trusted proxies. Pure.

Anybody can write a header that a proxy adds. So it is trusted only if the connection comes from one of
``WATCHER_TRUSTED_PROXIES``, and only the part that such a proxy has written: each proxy appends, so the list is read
from the right, up to the first address that is not a trusted proxy (RFC 7239, 7.4; nginx's realip module does the
same). ``Forwarded`` is read only if there is no ``X-Forwarded-…``: most proxies write the latter, and pass on a
``Forwarded`` unchanged.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from watcher.core.settings import Network

__all__ = ["Address", "Lines", "Peer", "peer"]

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Looks up the values of a header, one per line and in order; the case of the name doesn't matter.
Lines: TypeAlias = Callable[[str], Sequence[str]]

_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
#: An address in a header: IPv6 in brackets or without, a port, which may be obfuscated, or none (RFC 7239, 6).
_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\w{1,6})?|([0-9.]{7,15})(?::\w{1,6})?|([0-9A-Fa-f:.]{2,45})")
#: One pair of ``Forwarded``, and what follows it; the value in quotes or, as some write it, with ``:`` or ``[`` bare.
_PAIR: Final = re.compile(
    r"""[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*))?[ \t]*([,;]|$)""", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sends a request, and what it asks for.

    :param address: of the client, behind all trusted proxies; None if the connection has none.
    :param proxied: whether the connection comes from a trusted proxy.
    :param host: the ``Host`` that the client asked for; None if there is none, or several.
    :param scheme: ``http`` or ``https`` if a trusted proxy says which; else None.
    """

    address: Address | None
    proxied: bool
    host: str | None
    scheme: str | None

    @property
    def name(self) -> str | None:
        """The address as text; None if there is none."""
        return None if self.address is None else str(self.address)


def peer(connection: str | None, lines: Lines, proxies: Sequence[Network]) -> Peer:
    """The sender of a request.

    :param connection: address of the connection's other end; None for a Unix socket.
    :param lines: the request's headers.
    :param proxies: networks of trusted proxies.
    """
    address = _address(connection or "")
    hosts = lines("Host")
    host = hosts[0] if len(hosts) == 1 else None
    if address is None or not _within(address, proxies):
        return Peer(address, False, host, None)
    listed = {name: _listed(lines(f"X-Forwarded-{name}")) for name in ("For", "Host", "Proto")}
    if any(listed.values()):
        address, hops = _walk(address, listed["For"], proxies)
        forwarded_host, scheme = _nearest(listed["Host"], hops), _nearest(listed["Proto"], hops)
    else:
        elements = _elements(",".join(lines("Forwarded")))
        address, hops = _walk(address, [element.get("for", "") for element in elements], proxies)
        forwarded_host = _nearest([element["host"] for element in elements[-hops:] if "host" in element], hops)
        scheme = _nearest([element["proto"] for element in elements[-hops:] if "proto" in element], hops)
    return Peer(address, True, forwarded_host or host, _SCHEMES.get((scheme or "").lower()))


def _walk(address: Address, nodes: Sequence[str], proxies: Sequence[Network]) -> tuple[Address, int]:
    """The first address from the right that is not a trusted proxy, and how many proxies report it, at least one.

    An unreadable address (``unknown``, a made-up name) ends the search; the last readable one is returned.
    """
    hops = 0
    for node in reversed(nodes):
        parsed = _node(node)
        if parsed is None:
            break
        address, hops = parsed, hops + 1
        if not _within(address, proxies):
            break
    return address, max(1, hops)


def _nearest(values: Sequence[str], hops: int) -> str | None:
    """The value written by the trusted proxy that is nearest to the client; not every proxy adds one."""
    return values[-min(hops, len(values))] if values else None


def _node(text: str) -> Address | None:
    match = _NODE.fullmatch(text)
    return _address(match[1] or match[2] or match[3]) if match else None


@functools.lru_cache(maxsize=1024)  # what it is asked for is short
def _address(text: str) -> Address | None:
    """The parsed address; an IPv4 address in IPv6 form becomes IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _listed(lines: Sequence[str]) -> list[str]:
    """The elements of a list that spans one header line or several (RFC 9110, 5.3)."""
    return [part for line in lines for element in line.split(",") if (part := element.strip(" \t"))]


def _elements(text: str) -> list[Mapping[str, str]]:
    """What each proxy says in ``Forwarded`` (RFC 7239, 4); nothing if it can't be parsed."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            return []
        if pair[1]:
            elements[-1].setdefault(pair[1].lower(), _unquoted(pair[2]))
        if pair[3] == ",":
            elements.append({})
        position = pair.end()
    return [element for element in elements if element]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith('"') else text

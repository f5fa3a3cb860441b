"""Who may knock: which ``Host`` a relay answers to, which browser origins may use it, where an open one may listen.

Pure decisions. A relay without a secret is open to whoever reaches it, and every page in a browser on this machine
does: so it answers only to names that lead here (DNS rebinding), and to pages that come from here. With a secret, the
token says who may do what, and the ``Host`` doesn't matter.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from watcher.relay.peers import Peer
from watcher.settings import Settings

__all__ = ["host_refusal", "insecure_bind_refused", "is_loopback", "origin_refusal", "refusal"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
#: A longer name there is not (RFC 1035, 2.3.4), and what is remembered of names has a bound. In characters.
_LONGEST: Final = 300
#: What a client sent is shown in the log up to here, in characters.
_SHOWN: Final = 120


class _Authority(NamedTuple):
    """Name and port of a ``Host`` header or of an origin; the name in lower case, without brackets and final dot."""

    name: str
    port: int | None


class _Origin(NamedTuple):
    """Where a page comes from (RFC 6454); ``port`` is always known."""

    scheme: str
    name: str
    port: int


def refusal(settings: Settings, peer: Peer, origin: str | None) -> str | None:
    """Why a handshake is refused, naming the setting that would allow it; None where it is not."""
    refused = origin_refusal(settings, host=peer.host, scheme=peer.scheme, origin=origin)
    return host_refusal(settings, peer.host) or refused


def host_refusal(settings: Settings, host: str | None) -> str | None:
    """Why a request for this ``Host`` is refused, or None."""
    if settings.guarded or "*" in settings.hosts:
        return None
    if host is None:
        return "there is no Host header, and without WATCHER_SECRET the relay answers only to hosts that it knows"
    asked = _authority(host)
    if asked is not None:
        if is_loopback(asked.name):
            return None
        for allowed in map(_authority, settings.hosts):
            if allowed is not None and allowed.name == asked.name and allowed.port in (None, asked.port):
                return None
    allow = f"WATCHER_HOSTS={_plain(asked.name if asked else host)} allows it"
    return f"the Host {_shown(host)} is none that a relay without WATCHER_SECRET knows; {allow}"


def origin_refusal(
    settings: Settings, *, host: str | None, origin: str | None, scheme: str | None = None
) -> str | None:
    """Why a page of this origin may not use the relay, or None.

    :param host: the ``Host`` that was asked for: pages of the relay itself may always use it.
    :param scheme: ``http`` or ``https`` where that is known; else the page's is taken to be the relay's.
    :param origin: None where the header is absent, as it is from everything that is no browser.
    """
    if origin is None or "*" in settings.origins:
        return None
    page = _origin(origin)
    if page is not None:
        if page in map(_origin, settings.origins):
            return None
        own = _authority(host) if host else None
        port = own and (own.port or _DEFAULT_PORTS[scheme or page.scheme])
        if own is not None and (own.name, port) == (page.name, page.port):
            return None
        if not settings.guarded and is_loopback(page.name):
            return None
    return f"pages from {_shown(origin)} may not use this relay; WATCHER_ORIGINS={_plain(origin)} allows it"


def insecure_bind_refused(settings: Settings) -> str | None:
    """Why a relay with these settings must not listen on ``settings.host``, or None; ``--insecure`` overrides it."""
    if settings.guarded or is_loopback(settings.host):
        return None
    return "without WATCHER_SECRET only a loopback address, unless --insecure"


def is_loopback(name: str) -> bool:
    """Whether a host name or address leads to this machine and nowhere else (RFC 6761, 6.3; RFC 1122, 3.2.1.3)."""
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


def _authority(text: str) -> _Authority | None:
    """``name[:port]``; None where ``text`` is anything else."""
    return _parsed(text) if len(text) <= _LONGEST else None


@functools.lru_cache(maxsize=128)
def _parsed(text: str) -> _Authority | None:
    if any(c in "/?#@\\" or c.isspace() or not c.isprintable() for c in text):
        return None
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    name = (name or "").removesuffix(".")
    return _Authority(name, port) if name else None


def _origin(text: str) -> _Origin | None:
    """``scheme://name[:port]``; None where ``text`` is anything else, as the ``null`` of a sandboxed page."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    authority = _authority(rest.removesuffix("/"))
    if not separator or scheme not in _DEFAULT_PORTS or authority is None:
        return None
    return _Origin(scheme, authority.name, authority.port or _DEFAULT_PORTS[scheme])


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])


def _plain(text: str) -> str:
    return ascii(text[:_SHOWN])[1:-1]

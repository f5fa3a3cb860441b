"""Which ``Host`` and browser origins a relay accepts, and where an open relay may listen. Pure.

A relay without a secret is open to everyone who reaches it, and every page in a browser on this machine does. So it
answers only to names of this machine (against DNS rebinding), and only to pages of this machine. With a secret, tokens
decide, and the ``Host`` doesn't matter.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from watcher.core.errors import Unauthorized
from watcher.core.loopback import is_loopback
from watcher.core.settings import Settings
from watcher.relay.security.forwarded import Lines, Peer
from watcher.relay.security.identity import person

__all__ = [
    "ambient_refusal",
    "bearer",
    "host_refusal",
    "insecure_bind_refused",
    "is_loopback_host",
    "origin_of",
    "origin_refusal",
    "refusal",
    "unbelieved",
]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
#: Longest host name, in characters (RFC 1035, 2.3.4): it bounds the cache of names.
_LONGEST: Final = 300
#: Longest text of a client's that a log line shows, in characters.
_SHOWN: Final = 120

_TWO_TOKENS: Final = "more than one Authorization header"


class _Authority(NamedTuple):
    """Name and port of a ``Host`` header or an origin; the name in lower case, without brackets and final dot."""

    name: str
    port: int | None


class _Origin(NamedTuple):
    """The origin of a page (RFC 6454); ``port`` is always known."""

    scheme: str
    name: str
    port: int


def refusal(settings: Settings, peer: Peer, lines: Lines) -> str | None:
    """Why a handshake is refused, naming the setting that would allow it; None if it is allowed.

    :param lines: the request's headers.
    """
    foreign = origin_refusal(settings, host=peer.host, scheme=peer.scheme, origin=origin_of(lines))
    why = host_refusal(settings, peer.host) or foreign or ambient_refusal(settings, peer, lines)
    return why or (_TWO_TOKENS if len(lines("Authorization")) > 1 else None)


def origin_of(lines: Lines) -> str | None:
    """The ``Origin`` of a request; for several, one that no page has."""
    origins = lines("Origin")
    return ", ".join(origins) if origins else None


def bearer(lines: Lines) -> str | None:
    """The token in ``Authorization: Bearer`` (RFC 6750, 2.1), if there is one.

    :raises Unauthorized: the header is repeated: a proxy may have checked the other one.
    """
    values = lines("Authorization")
    if len(values) > 1:
        raise Unauthorized(_TWO_TOKENS)
    scheme, _, token = next(iter(values), "").partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None


def host_refusal(settings: Settings, host: str | None) -> str | None:
    """Why a request for this ``Host`` is refused; None if it is allowed."""
    # A proxy may know users by what every page's requests carry, such as their address: check names then, too.
    named = settings.auth_header is not None and bool(settings.hosts)
    if (settings.guarded and not named) or "*" in settings.hosts:
        return None
    if host is None:
        return "no Host header, and the relay answers only to known hosts"
    asked = _authority(host)
    if asked is not None:
        if is_loopback(asked.name):
            return None
        for allowed in map(_authority, settings.hosts):
            if allowed is not None and allowed.name == asked.name and allowed.port in (None, asked.port):
                return None
    allow = f"WATCHER_HOSTS={_plain(asked.name if asked else host)} allows it"
    return f"the Host {_shown(host)} is unknown to this relay; {allow}"


def origin_refusal(
    settings: Settings, *, host: str | None, origin: str | None, scheme: str | None = None
) -> str | None:
    """Why a page of this origin may not use the relay; None if it may.

    :param host: the ``Host`` that was asked for: the relay's own pages may always use it.
    :param scheme: ``http`` or ``https`` if known; else the page is assumed to use the relay's.
    :param origin: None if the header is absent, as from every client but a browser.
    """
    if origin is None or "*" in settings.origins:
        return None
    page = _origin(origin)
    if page is not None:
        if page in map(_origin, settings.origins):
            return None
        own = _authority(host) if host else None
        # Anyone on the network can fake a page of http://, even under the relay's own name.
        if settings.tls and page.scheme not in ("https", "wss"):
            own = None
        port = own and (own.port or _DEFAULT_PORTS[scheme or page.scheme])
        if own is not None and (own.name, port) == (page.name, page.port):
            return None
        if not settings.guarded and is_loopback(page.name):
            return None
    return f"pages from {_shown(origin)} may not use this relay; WATCHER_ORIGINS={_plain(origin)} allows it"


def ambient_refusal(settings: Settings, peer: Peer, lines: Lines, *, changes: str | None = None) -> str | None:
    """Why a request may not act on behalf of the user that the proxy named; None if it may.

    The proxy names its user in everything that the user's browser sends, whichever page made it do so. So requests that
    another site caused are refused, except for links that are followed. Requests that change something must have an
    ``Origin``, which was checked before, or be JSON: no page can send that without asking first (Fetch, 2.2.2).

    :param changes: the ``Content-Type`` of a request that may change something, empty if it has none.
    """
    try:
        named = person(settings, peer, lines)
        if named is None or bearer(lines) or lines("Origin"):
            return None
    except Unauthorized as error:
        return str(error)
    site, mode, target = (", ".join(lines(f"Sec-Fetch-{name}")) for name in ("Site", "Mode", "Dest"))
    followed = changes is None and (mode, target) == ("navigate", "document")
    if site not in ("", "same-origin", "none") and not followed:
        return f"{settings.auth_header} is not accepted in requests that another site makes a browser send"
    if changes is not None and not site and not _is_json(changes):
        return f"without an Origin, {settings.auth_header} is accepted only with Content-Type: application/json"
    return None


def _is_json(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == "application/json"


def unbelieved(settings: Settings, peer: Peer, lines: Lines) -> str | None:
    """A log message about a user header from an untrusted sender; None if there is none."""
    if settings.auth_header is None or peer.proxied or not lines(settings.auth_header):
        return None
    return f"{settings.auth_header} from {peer.address} is not trusted: WATCHER_TRUSTED_PROXIES does not include it"


def insecure_bind_refused(settings: Settings) -> str | None:
    """Why this relay must not listen on ``settings.host``; None if it may. ``--insecure`` overrides it."""
    if settings.guarded or is_loopback(settings.host):
        return None
    return "without WATCHER_SECRET or WATCHER_PUBLIC_KEY only a loopback address, unless --insecure"


def is_loopback_host(host: str) -> bool:
    """Whether a ``Host`` header names this machine."""
    asked = _authority(host)
    return asked is not None and is_loopback(asked.name)


def _authority(text: str) -> _Authority | None:
    """Parse ``name[:port]``; None if ``text`` is anything else."""
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
    """Parse ``scheme://name[:port]``; None if ``text`` is anything else, as the ``null`` of a sandboxed page."""
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

"""Who may knock: which ``Host`` a relay answers to, which browser origins may use it, where an open one may listen.

Pure decisions. A relay without a secret is open to whoever reaches it, and every page in a browser on this machine
does: so it answers only to names that lead here (DNS rebinding), and to pages that come from here. With a secret, the
token says who may do what, and the ``Host`` doesn't matter.
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
#: A longer name there is not (RFC 1035, 2.3.4), and what is remembered of names has a bound. In characters.
_LONGEST: Final = 300
#: What a client sent is shown in the log up to here, in characters.
_SHOWN: Final = 120

_TWO_TOKENS: Final = "more than one Authorization header"


class _Authority(NamedTuple):
    """Name and port of a ``Host`` header or of an origin; the name in lower case, without brackets and final dot."""

    name: str
    port: int | None


class _Origin(NamedTuple):
    """Where a page comes from (RFC 6454); ``port`` is always known."""

    scheme: str
    name: str
    port: int


def refusal(settings: Settings, peer: Peer, lines: Lines) -> str | None:
    """Why a handshake is refused, naming the setting that would allow it; None where it is not.

    :param lines: the request's headers.
    """
    foreign = origin_refusal(settings, host=peer.host, scheme=peer.scheme, origin=origin_of(lines))
    why = host_refusal(settings, peer.host) or foreign or ambient_refusal(settings, peer, lines)
    return why or (_TWO_TOKENS if len(lines("Authorization")) > 1 else None)


def origin_of(lines: Lines) -> str | None:
    """The ``Origin`` of a request; of several it is one that no page has."""
    origins = lines("Origin")
    return ", ".join(origins) if origins else None


def bearer(lines: Lines) -> str | None:
    """The token in ``Authorization: Bearer`` (RFC 6750, 2.1), where there is one.

    :raises Unauthorized: the header is there twice: whoever looked at it before may have taken the other one.
    """
    given = lines("Authorization")
    if len(given) > 1:
        raise Unauthorized(_TWO_TOKENS)
    scheme, _, token = next(iter(given), "").partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None


def host_refusal(settings: Settings, host: str | None) -> str | None:
    """Why a request for this ``Host`` is refused, or None."""
    # A proxy may know people by what no page has to send along, as by their address: then names must be looked at, too.
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
        # Whoever is on the wire can make a page of http://, at the default port of the relay's own name too.
        if settings.tls and page.scheme not in ("https", "wss"):
            own = None
        port = own and (own.port or _DEFAULT_PORTS[scheme or page.scheme])
        if own is not None and (own.name, port) == (page.name, page.port):
            return None
        if not settings.guarded and is_loopback(page.name):
            return None
    return f"pages from {_shown(origin)} may not use this relay; WATCHER_ORIGINS={_plain(origin)} allows it"


def ambient_refusal(settings: Settings, peer: Peer, lines: Lines, *, changes: str | None = None) -> str | None:
    """Why a request may not be made in the name of whom the proxy says that it is from, or None.

    Whoever is logged in at the proxy is named in all that their browser sends, by whatever page it was made to. So what
    a browser says that another site made it send is refused, but for a link that is followed; and what changes
    something must be from a page with an ``Origin``, which was looked at before, or be such that no page can send it
    without asking first: no form and no simple request says that it is JSON (Fetch, 2.2.2).

    :param changes: the ``Content-Type`` of a request that may change something, empty where it has none.
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
    """What the log should say of a header that would name somebody, and isn't believed; None where there is none."""
    if settings.auth_header is None or peer.proxied or not lines(settings.auth_header):
        return None
    return f"{settings.auth_header} from {peer.address} is not trusted: WATCHER_TRUSTED_PROXIES does not include it"


def insecure_bind_refused(settings: Settings) -> str | None:
    """Why a relay with these settings must not listen on ``settings.host``, or None; ``--insecure`` overrides it."""
    if settings.guarded or is_loopback(settings.host):
        return None
    return "without WATCHER_SECRET or WATCHER_PUBLIC_KEY only a loopback address, unless --insecure"


def is_loopback_host(host: str) -> bool:
    """Whether a ``Host`` header names this machine."""
    asked = _authority(host)
    return asked is not None and is_loopback(asked.name)


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

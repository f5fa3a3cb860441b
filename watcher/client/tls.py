"""TLS of a client: the authorities that it trusts and the certificate that it shows, by environment variables."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

__all__ = ["CA", "CERT", "KEY", "context"]

CA: Final = "WATCHER_CA"
CERT: Final = "WATCHER_CLIENT_CERT"
KEY: Final = "WATCHER_CLIENT_KEY"


def context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """How a connection to a relay is secured; None where no variable says anything, and the defaults do.

    :param environ: the process's environment. ``WATCHER_CA`` names a file of authorities in PEM, in place of the
        system's; ``WATCHER_CLIENT_CERT`` and ``WATCHER_CLIENT_KEY`` the certificate that is shown to a relay that wants
        one, and its key where that is in a file of its own.
    :raises ValueError: a file can't be used; names the variable.
    """
    ca, cert, key = (environ.get(name, "").strip() or None for name in (CA, CERT, KEY))
    if key and not cert:
        raise ValueError(f"{KEY}={key!r} is not accepted: set {CERT} too")
    if not (ca or cert):
        return None
    try:
        tls = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ValueError(f"{CA}={ca!r} is not accepted: {_why(error)}") from None
    if cert:
        try:
            # Without a function for it, OpenSSL asks the terminal for the passphrase of a key that has one.
            tls.load_cert_chain(cert, key, password=lambda: "")
        except OSError as error:
            raise ValueError(f"{CERT}={cert!r}, {KEY}={key or ''!r} are not accepted: {_why(error)}") from None
    return tls


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return f"OpenSSL can't use it ({reason})" if reason else f"the file can't be read: {error.strerror or error}"

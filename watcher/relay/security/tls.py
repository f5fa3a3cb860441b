"""TLS of the relay's own port: its certificate, reloaded when it is renewed, and client certificates.

uvicorn's own options would ask the terminal for a key's passphrase, allow ciphers without forward secrecy, and read the
certificate only once.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from watcher.core.errors import SettingError
from watcher.core.settings import Settings, setting
from watcher.relay.common.watched_files import WatchedFile

__all__ = ["Certificate"]

logger = logging.getLogger(__name__)

#: Ciphers of TLS 1.2: forward secrecy and authenticated encryption only. All of TLS 1.3 have both.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
#: Interval between checks for changed files, in seconds.
_LOOK: Final = 2.0


class _Handshake(ssl.SSLObject):
    """TLS of one connection; asyncio and uvloop don't report why a handshake failed."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError):
            raise  # not yet; or whoever came has gone, as port scanners and health checks do
        except ssl.SSLError as error:
            if isinstance(self.context, _Context) and self.context.failed is not None:
                self.context.failed(error.reason or str(error))
            raise


class _Context(ssl.SSLContext):
    """A context that reports failed handshakes."""

    sslobject_class = _Handshake
    failed: Callable[[str], None] | None = None


class Certificate:
    """The relay's certificate, and the TLS context of its handshakes."""

    def __init__(self, settings: Settings, *, look: float = _LOOK) -> None:
        """Read the files; use :meth:`of`.

        :param look: seconds between checks for changed files.
        :raises SettingError: a file can't be used; the message names the setting.
        """
        self._settings = settings
        paths = [path for path in (settings.tls_cert, settings.tls_key) if path is not None]
        self.followed = WatchedFile("tls_cert", paths, "the TLS certificate remains in use", look=look)
        self.context = _context(settings)

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """The certificate that settings name; None if the relay doesn't speak TLS.

        :raises SettingError: a file can't be read or used, or the key belongs to another certificate.
        """
        if settings.tls_cert is None:
            for name in ("tls_key", "tls_client_ca"):
                if (value := getattr(settings, name)) is not None:
                    raise SettingError(setting(name).variable, value, "set WATCHER_TLS_CERT too")
            return None
        return cls(settings)

    def tell(self, failed: Callable[[str], None]) -> None:
        """Call ``failed`` with OpenSSL's reason for each failed handshake; OpenSSL doesn't know the client."""
        self.context.failed = failed

    async def follow(self) -> None:
        """Reload the certificate whenever its files change; never returns.

        Open connections keep their certificate. If the files don't fit together, as in the middle of a renewal, the
        last good certificate remains in use. Safe to cancel at any moment.
        """
        await self.followed.run(self._renew)

    async def _renew(self) -> None:
        # On the event loop, not in a thread: no handshake may begin while OpenSSL's context changes.
        _context(self._settings)  # check first: a failure half-way would leave the context in use without its key
        _load(self.context, self._settings)
        logger.info("reloaded the TLS certificate from %s", self._settings.tls_cert)


def _context(settings: Settings) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    if settings.tls_client_ca is not None:
        _read("tls_client_ca", settings.tls_client_ca, b"-----BEGIN CERTIFICATE-----", "no PEM certificate")
        try:
            context.load_verify_locations(settings.tls_client_ca)
        except (ssl.SSLError, OSError) as error:
            _refuse("tls_client_ca", settings.tls_client_ca, error)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    cert = settings.tls_cert or ""
    holder, path = ("tls_cert", cert) if settings.tls_key is None else ("tls_key", settings.tls_key)
    _read("tls_cert", cert, b"-----BEGIN CERTIFICATE-----", "no PEM certificate")
    key = _read(holder, path, b"PRIVATE KEY-----", "no PEM private key")
    if b"ENCRYPTED" in key:
        raise SettingError(
            setting(holder).variable, path,
            "the key is encrypted; accepted is one without a passphrase, as from: openssl pkey -in KEY -out PLAIN_KEY",
        )  # fmt: skip
    try:
        # Without this function OpenSSL would ask the terminal for a passphrase.
        context.load_cert_chain(cert, settings.tls_key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingError(setting(holder).variable, path, f"the key does not belong to {cert}") from None
        _refuse(holder, path, error)
    except OSError as error:
        _refuse(holder, path, error)


def _read(field: str, path: str, needed: bytes, otherwise: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingError(setting(field).variable, path, f"the file can't be read: {error.strerror}") from None
    if needed not in content:
        raise SettingError(setting(field).variable, path, f"there is {otherwise} in the file")
    return content


def _refuse(field: str, path: str, error: OSError) -> NoReturn:
    why = getattr(error, "reason", None) or error.strerror or str(error)
    raise SettingError(setting(field).variable, path, f"OpenSSL can't use it ({why})") from None

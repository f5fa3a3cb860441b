"""A certificate authority for tests, and what it has certified: files in PEM."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme

from watcher.core.settings import Settings


class Authority:
    """An authority with a server's certificate (127.0.0.1 and localhost) and a client's.

    :param folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = self.issue("server", "127.0.0.1", "localhost")
        self.client_cert, self.client_key = self.issue("client", "client@example.org")

    def issue(self, name: str, *identities: str) -> tuple[Path, Path]:
        """A new certificate and its key, in files of this name."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued = self._ca.issue_cert(*identities)
        chain = [*issued.cert_chain_pems, self._ca.cert_pem]
        cert.write_bytes(b"".join(pem.bytes() for pem in chain))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key

    def settings(self, **others: Any) -> Settings:
        """Those of a relay with the server's certificate."""
        return Settings(tls_cert=str(self.cert), tls_key=str(self.key), **others)

    def environment(self) -> dict[str, str]:
        """The same as variables."""
        return {"WATCHER_TLS_CERT": str(self.cert), "WATCHER_TLS_KEY": str(self.key)}

    def trusted(self, *, with_client: bool = False) -> ssl.SSLContext:
        """What a client of the server needs.

        :param with_client: whether it shows its own certificate.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if with_client:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context

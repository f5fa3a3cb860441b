"""Files with secrets, keys or rights that every user of the machine gets at, in a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from watcher.core.private_files import exposure
from watcher.core.settings import Settings, setting

if TYPE_CHECKING:  # a script that signs a token doesn't wait for redis-py
    from watcher.journal.connect import Target

__all__ = ["exposed", "exposed_by_settings", "exposed_by_target"]


def exposed(name: str, path: str | None, *, secret: bool = True) -> Iterator[str]:
    """That others can read or change a file; what else is wrong with it, whoever reads it finds out.

    :param name: the setting that names it; ``path``: None or empty where it names none.
    :param secret: whether it is not even to be read.
    """
    how = exposure(path, secret=secret) if path else None
    if how is not None:
        yield f"{name}: {path} {how}; 'chmod {'600' if secret else 'go-w'}' takes that from them"


def exposed_by_settings(settings: Settings) -> Iterator[str]:
    """Of the files that a relay's settings name."""
    public = settings.public_key or ""
    files = {
        "secret_file": (settings.secret_file, True),
        "tls_key": (settings.tls_key, True),
        "tls_cert": (settings.tls_cert, settings.tls_key is None),  # the key is in it then
        "tls_client_ca": (settings.tls_client_ca, False),
        "claims": (settings.claims, True),
        "public_key": (None if "-----BEGIN" in public or "{" in public else public, False),
    }
    for field, (path, secret) in files.items():
        yield from exposed(setting(field).variable, path, secret=secret)


def exposed_by_target(target: Target) -> Iterator[str]:
    """Of the private key that is shown to a Redis."""
    key, certificate = target.options.get("ssl_keyfile"), target.options.get("ssl_certfile")
    yield from exposed("ssl_keyfile" if key else "ssl_certfile", key or certificate)

"""Warnings, one line each, about files of secrets, keys or permissions that other users of the machine can open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from watcher.core.private_files import exposure
from watcher.core.settings import Settings, setting

if TYPE_CHECKING:  # a script that signs a token doesn't wait for redis-py
    from watcher.journal.connect import Target

__all__ = ["exposed", "exposed_by_settings", "exposed_by_target"]


def exposed(name: str, path: str | None, *, secret: bool = True) -> Iterator[str]:
    """A warning if other users can change a file, or read a secret one.

    :param name: the setting that names the file.
    :param path: None or empty if the setting is not set.
    :param secret: whether other users must not read the file either.
    """
    risk = exposure(path, secret=secret) if path else None
    if risk is not None:
        yield f"{name}: {path} {risk}; 'chmod {'600' if secret else 'go-w'}' removes their access"


def exposed_by_settings(settings: Settings) -> Iterator[str]:
    """Warnings about the files that a relay's settings name."""
    public = settings.public_key or ""
    files = {
        "secret_file": (settings.secret_file, True),
        "tls_key": (settings.tls_key, True),
        "tls_cert": (settings.tls_cert, settings.tls_key is None),  # then it holds the key
        "tls_client_ca": (settings.tls_client_ca, False),
        "claims": (settings.claims, True),
        "public_key": (None if "-----BEGIN" in public or "{" in public else public, False),
    }
    for field, (path, secret) in files.items():
        yield from exposed(setting(field).variable, path, secret=secret)


def exposed_by_target(target: Target) -> Iterator[str]:
    """A warning about the private key with which Redis is contacted."""
    key, certificate = target.options.get("ssl_keyfile"), target.options.get("ssl_certfile")
    yield from exposed("ssl_keyfile" if key else "ssl_certfile", key or certificate)

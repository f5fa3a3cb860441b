"""The files of the page, from ``web/``. They are listed at the start; nothing else can be requested."""

from __future__ import annotations

import gzip
import hashlib
import logging
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import watcher

__all__ = ["StaticFiles", "folder"]

logger = logging.getLogger(__name__)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",  # watcher.d.ts; `.ts` has no registered type but MPEG's
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
#: Files that other sites may import.
_SHARED: Final = frozenset(("watcher.js", "watcher.d.ts"))
_TEXTS: Final = frozenset((".html", ".js", ".ts", ".css", ".svg", ".json", ".webmanifest"))


def folder() -> Path | None:
    """The folder of the page's files: inside the package if installed, beside it in a checkout."""
    package = Path(watcher.__file__).parent
    for candidate in (package / "web", package.parent / "web"):
        if (candidate / "index.html").is_file():
            return candidate
    return None


class _File(NamedTuple):
    stamp: tuple[int, int]
    body: bytes
    etag: str
    #: The body in gzip; it is another representation, with its own entity tag (RFC 9110, 8.8.3.3).
    packed: bytes | None


class StaticFiles:
    """The files of one folder, kept in memory and read again when they change.

    :param root: the folder; None if it is missing, and then there are no pages.
    """

    def __init__(self, root: Path | None) -> None:
        self._files: dict[str, Path] = {}
        self._read: dict[str, _File] = {}
        if root is None:
            logger.warning("the page's files are missing: only the API is served")
            return
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix in _TYPES:
                self._files[path.relative_to(root).as_posix()] = path
        self._files[""] = self._files["index.html"]

    def routes(self) -> list[Route]:
        """A route per file; ``/`` is the page."""
        return [Route(f"/{name}", self._get, methods=["GET"], name=name or "page") for name in self._files]

    async def _get(self, request: Request) -> Response:
        name = request.scope["path"].removeprefix(request.scope.get("root_path", "")).removeprefix("/")
        file = self._current(name)
        body, etag = file.body, file.etag
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}  # cached, but revalidated each time
        if file.packed is not None and _takes_gzip(request.headers.get("accept-encoding")):
            body, etag = file.packed, f'{etag[:-1]}-gzip"'
            headers["Content-Encoding"] = "gzip"
        headers["ETag"] = etag
        if name in _SHARED:
            headers |= {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
        if _matches(request.headers.get("if-none-match"), etag):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=_TYPES[self._files[name].suffix])

    def _current(self, name: str) -> _File:
        path = self._files[name]
        cached = self._read.get(name)
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if cached is not None and cached.stamp == stamp:
                return cached
            body = path.read_bytes()
        except OSError:
            if cached is None:
                raise
            return cached  # the next request tries again
        else:
            packed = gzip.compress(body, mtime=0) if path.suffix in _TEXTS else None
            cached = self._read[name] = _File(stamp, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', packed)
        return cached


def _takes_gzip(header: str | None) -> bool:
    """Whether ``Accept-Encoding`` names gzip or everything, with a weight above 0 (RFC 9110, 12.5.3)."""
    for coding in (header or "").lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name in ("gzip", "x-gzip", "*"):
            return weight.strip("0.") != "" or not weight
    return False


def _matches(header: str | None, etag: str) -> bool:
    """Whether ``If-None-Match`` names this entity tag (RFC 9110, 13.1.2)."""
    if header is None:
        return False
    return any(tag.strip().removeprefix("W/") in ("*", etag) for tag in header.split(","))

"""The page and its files."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from tests.relay.serving import BASE, serving
from tests.support.processes import ROOT
from tests.support.valkey import Valkey
from watcher.relay.http.static import StaticFiles, folder

pytestmark = pytest.mark.anyio


async def test_the_page_and_its_files(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.content == (ROOT / "web" / "index.html").read_bytes()
        policy = page.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"} <= set(
            policy
        )
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        for path in (ROOT / "web").iterdir():
            if path.suffix[1:] in kinds:
                response = await client.get(f"/{path.name}")
                assert response.status_code == 200
                assert response.headers["content-type"].startswith(kinds[path.suffix[1:]])
                assert response.content == path.read_bytes()
        assert (await client.head("/watcher.js")).status_code == 200


async def test_pages_of_other_origins_may_import_the_module(valkey: Valkey) -> None:
    async with serving(valkey.url()) as (client, _):
        for name in ("watcher.js", "watcher.d.ts"):
            response = await client.get(f"/{name}", headers={"Origin": "https://shop.example"})
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["cross-origin-resource-policy"] == "cross-origin"
        page = await client.get("/main.js", headers={"Origin": "https://shop.example"})
        assert "access-control-allow-origin" not in page.headers
        assert page.headers["cross-origin-resource-policy"] == "same-origin"


async def test_files_are_not_sent_again_unless_they_changed(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("one")
    (tmp_path / "secret.py").write_text("no")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.js").write_text("js")
    pages = Starlette(routes=StaticFiles(tmp_path).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url=BASE) as client:
        first = await client.get("/")
        assert (first.text, first.headers["cache-control"]) == ("one", "no-cache")
        for header in (first.headers["etag"], f"W/{first.headers['etag']}", '"x", ' + first.headers["etag"], "*"):
            again = await client.get("/", headers={"If-None-Match": header})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        (tmp_path / "index.html").write_text("two!")
        changed = await client.get("/", headers={"If-None-Match": first.headers["etag"]})
        assert (changed.status_code, changed.text) == (200, "two!")
        assert (await client.get("/parts/a.js")).text == "js"
        assert (await client.get("/secret.py")).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip, deflate, br", True), ("br;q=1, *;q=0.5", True), ("gzip;q=0, br", False), ("", False)],
)
async def test_files_are_packed_for_who_takes_that(valkey: Valkey, accepted: str, packed: bool) -> None:
    async with serving(valkey.url()) as (client, _):
        headers = {"Accept-Encoding": accepted}
        async with client.stream("GET", "/watcher.js", headers=headers) as response:
            sent = b"".join([piece async for piece in response.aiter_raw()])
        whole = (ROOT / "web" / "watcher.js").read_bytes()
        assert "Accept-Encoding" in response.headers["vary"]
        assert (response.headers.get("content-encoding") == "gzip") == packed
        assert (gzip.decompress(sent) if packed else sent) == whole
        again = await client.get("/watcher.js", headers={**headers, "If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await client.get("/watcher.js", headers={"Accept-Encoding": "gzip" if not packed else "identity"})
        assert other.headers["etag"] != response.headers["etag"]


def test_the_folder_is_found_in_a_checkout() -> None:
    assert folder() == ROOT / "web"


async def test_missing_files_leave_the_api(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    assert StaticFiles(None).routes() == []
    assert "only the API is served" in caplog.text

"""The page over https, with a real relay that has a certificate: everything goes by TLS, and its policy allows it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Request, WebSocket, expect

from tests.browser.conftest import OpenPage
from tests.browser.pages import choose, rows, submit
from tests.support.certificates import Authority
from tests.support.processes import relay, worker
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def browser(whole_browser: Browser) -> Browser:
    """The whole of it."""
    return whole_browser


def test_the_page_follows_and_submits_over_tls(
    open_page: OpenPage, tasks_env: dict[str, str], authority: Authority
) -> None:
    env = {**tasks_env, **authority.environment()}
    with worker(pool="threads", env=env), relay(env=env) as serving:
        page = open_page("about:blank", ignore_https_errors=True)
        sockets: list[str] = []
        asked: list[str] = []

        def opened(socket: WebSocket) -> None:
            sockets.append(socket.url)

        def requested(request: Request) -> None:
            asked.append(request.url)

        page.on("websocket", opened)
        page.on("request", requested)
        response = page.goto(serving.url)
        assert response is not None
        assert "connect-src 'self'" in (response.header_value("content-security-policy") or "")
        form = choose(page, "tasks.add")
        form.get_by_label("x", exact=True).fill("2")
        form.get_by_label("y", exact=True).fill("3")
        submit(form)
        expect(rows(page).first).to_contain_text("Success", timeout=20_000)
        expect(rows(page).first).to_contain_text("5")
        assert sockets == [serving.ws_url]
        assert asked
        assert all(url.startswith(f"{serving.url}/") for url in asked), asked
        page.close()
        wait_for(serving.ready, what="the relay to be as it was")
        assert "Traceback" not in serving.output

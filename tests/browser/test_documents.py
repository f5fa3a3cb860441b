"""What the documents show of `EventSource`, in a real browser, as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page

from tests.browser.conftest import HELD
from tests.support.processes import ROOT, program, relay
from tests.support.waiting import wait_for

_ADDRESS = "http://127.0.0.1:5556"


def block(document: str, language: str, word: str) -> str:
    """The one block of a document that has this in it."""
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", (ROOT / "docs" / document).read_text())
    [text] = [each for each in found if word in each]
    return str(text)


def said(page: Page) -> list[str]:
    """What the page is going to have written to its console."""
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text))
    return lines


def ended(page: Page, lines: list[str], last: str) -> bool:
    page.wait_for_timeout(20)  # for Playwright to hear of the console
    return bool(lines) and lines[-1] == last


def test_a_stream_of_the_relay(browser: Browser, working: dict[str, str]) -> None:
    with relay(HELD, env=working) as serving:
        page = browser.new_page()  # one without an icon, of which the browser complains
        page.goto(f"{serving.url}/readyz")
        lines = said(page)
        order = {"task": "tasks.add", "args": [2, 3], "options": {"task_id": "order-1"}}
        assert httpx.post(f"{serving.url}/api/tasks", json=order, timeout=20).status_code == 202
        page.evaluate(block("http.md", "js", "EventSource").replace(_ADDRESS, serving.url))
        wait_for(lambda: ended(page, lines, "SUCCESS 5"), what="the end on the page's console")
        page.close()


def test_a_stream_of_a_fastapi_app(browser: Browser, working: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(block("clients.md", "python", "FastAPI(lifespan=lifespan)"))
    command = [sys.executable, "-m", "uvicorn", "web:web", "--port", "0", "--app-dir", str(tmp_path)]
    with program(*command, env={**working, "PYTHONPATH": str(ROOT)}) as web:
        url = web.wait_for_output(r"http://[^\s/]+(?= \()").group()
        page = browser.new_page()
        page.goto(f"{url}/openapi.json")
        lines = said(page)
        identity = httpx.post(f"{url}/primes?limit=300000", timeout=30).json()["id"]
        page.evaluate(f"const id = {identity!r};\n{block('clients.md', 'js', 'EventSource')}")
        wait_for(lambda: ended(page, lines, "SUCCESS"), what="the end on the page's console")
        page.close()

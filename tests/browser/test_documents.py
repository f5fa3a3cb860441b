"""What the documents show of `EventSource`, in a real browser, as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.foreign import site
from tests.support.javascript import modules, run
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
    (tmp_path / "web.py").write_text(block("fastapi.md", "python", "FastAPI(lifespan=lifespan)"))
    command = [sys.executable, "-m", "uvicorn", "web:web", "--port", "0", "--app-dir", str(tmp_path)]
    with program(*command, env={**working, "PYTHONPATH": str(ROOT)}) as web:
        url = web.wait_for_output(r"http://[^\s/]+(?= \()").group()
        page = browser.new_page()
        page.goto(f"{url}/openapi.json")
        lines = said(page)
        identity = httpx.post(f"{url}/primes?limit=300000", timeout=30).json()["id"]
        page.evaluate(f"const id = {identity!r};\n{block('fastapi.md', 'js', 'EventSource')}")
        wait_for(lambda: ended(page, lines, "SUCCESS"), what="the end on the page's console")
        page.close()


_MAIN = """
import { createRoot } from "react-dom/client";
import { Task } from "./hook.jsx";
import { Progress } from "./element.jsx";

createRoot(document.body).render([<Task key="hook" id="order-react" />, <Progress key="element" id="order-react" />]);
"""


@pytest.mark.slow
def test_react_shows_a_task(open_page: OpenPage, working: dict[str, str], tmp_path: Path) -> None:
    """The hook and the element, made into one file as sites do it, on a page of another origin than the relay's."""
    (tmp_path / "main.jsx").write_text(_MAIN)
    (tmp_path / "node_modules").symlink_to(modules())
    with relay(HELD, env=working) as serving, site() as foreign:
        for name, word in (("hook", "useTask"), ("element", "<watcher-task")):
            (tmp_path / f"{name}.jsx").write_text(block("react.md", "jsx", word).replace(_ADDRESS, serving.url))
        made = run("esbuild", "bin/esbuild", "main.jsx", "--bundle", "--format=esm", "--jsx=automatic", cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        foreign.policy = ""
        foreign.paths["/main.js"] = made.stdout
        foreign.paths["/"] = "<!doctype html><link rel=icon href='data:,'><script type=module src=/main.js></script>"
        page = open_page(foreign.origin)
        expect(page.locator("p")).to_have_text("not known yet")
        expect(page.locator("section")).to_have_attribute("aria-busy", "true")
        order = {"task": "tasks.add", "args": [2, 3], "options": {"task_id": "order-react"}}
        assert httpx.post(f"{serving.url}/api/tasks", json=order, timeout=20).status_code == 202
        expect(page.locator("p")).to_have_text("SUCCESS 5")
        expect(page.locator("watcher-task [part=result]")).to_have_text("5")
        expect(page.locator("section")).to_have_attribute("aria-busy", "false")

"""The examples that are pages, in a real browser, with a real relay and a real worker."""

from __future__ import annotations

import sys

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.foreign import site as open_site
from tests.support.processes import ROOT, program, relay, worker

EXAMPLES = ROOT / "examples"


def test_a_page_of_your_own(open_page: OpenPage, tasks_env: dict[str, str]) -> None:
    text = (EXAMPLES / "page" / "index.html").read_text()
    assert text.count("http://127.0.0.1:5556") == 1
    with worker("tasks", env=tasks_env), relay(env=tasks_env) as serving, open_site() as site:
        site.policy = ""
        site.paths["/"] = text.replace("http://127.0.0.1:5556", serving.url)
        page = open_page(site.origin)
        page.get_by_label("Count the primes up to").fill("20000000")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("watcher-task [part=result]")).to_have_text("1270607", timeout=20_000)
        expect(page.locator("output")).to_contain_text("tasks.count_primes SUCCESS")
        stop = page.get_by_role("button", name="Revoke")
        expect(stop).to_be_disabled()
        page.get_by_label("Count the primes up to").fill("100000000000")  # minutes, on whatever machine
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("progressbar", name="tasks.count_primes")).to_be_visible()
        expect(page.locator("output")).to_contain_text("PROGRESS")
        stop.click()
        expect(page.locator("watcher-task [part=state]")).to_have_text("Revoked", timeout=20_000)


def test_fastapi_streams_to_the_browser(open_page: OpenPage, tasks_env: dict[str, str]) -> None:
    folder = EXAMPLES / "fastapi"
    command = [sys.executable, "-m", "uvicorn", "reports:web", "--port", "0"]
    with (
        worker("reports", pool="threads", env=tasks_env, cwd=folder),
        program(*command, env=tasks_env, cwd=folder) as web,
    ):
        page = open_page(web.wait_for_output(r"http://[^\s/]+(?= \()").group())
        page.get_by_role("button", name="Write a report").click()
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator("output")).to_contain_text("PROGRESS")
        expect(page.locator("output")).to_have_text('SUCCESS {"pages":40}')
        expect(page.get_by_role("progressbar")).to_be_hidden()
        assert web.output.count("/events") == 1, "the stream was closed at its end"


def test_a_page_of_django_follows_its_task(open_page: OpenPage, tasks_env: dict[str, str]) -> None:
    folder = EXAMPLES / "django"
    env = {**tasks_env, "JOURNAL_URL": tasks_env["CELERY_RESULT_BACKEND"]}
    command = [sys.executable, "-m", "uvicorn", "shop.asgi:application", "--port", "0"]
    with (
        worker("shop", pool="threads", env=env, cwd=folder),
        relay("shop", env=env, cwd=folder) as serving,
        program(*command, env={**env, "RELAY": serving.url}, cwd=folder) as web,
    ):
        page = open_page(web.wait_for_output(r"http://[^\s/]+(?= \()").group())
        page.get_by_role("button", name="Write a report").click()
        expect(page.get_by_role("progressbar", name="reports.tasks.write_report")).to_be_visible()
        expect(page.locator("watcher-task [part=result]")).to_contain_text("40")

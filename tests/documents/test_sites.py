"""The pages about Django and Flask show what works: real sites, of the blocks as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.documents.shown import blocks
from tests.support.processes import ROOT, program, relay, worker
from watcher.core.permissions import issue

_SECRET = "0123456789abcdef" * 2
_ELEMENT = re.compile(r'<watcher-task task="([\w-]+)" token="([\w.-]+)">')

_SETTINGS = """
import os

SECRET_KEY = "of this test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "proj.urls"
INSTALLED_APPS = ["proj"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
CELERY_BROKER_URL = os.environ["CELERY_BROKER_URL"]
CELERY_RESULT_BACKEND = os.environ["CELERY_RESULT_BACKEND"]
"""
_TASKS = """
from celery import shared_task


@shared_task
def add(x, y):
    return x + y
"""
_URLS = """
from django.urls import path

from proj import showing, waiting

urlpatterns = [path("", showing.begin), path("sum", waiting.total)]
"""


def shown(document: str, word: str) -> str:
    """The one block of a document that has this in it."""
    (text,) = (block.text for block in blocks(f"docs/{document}") if word in block.text)
    return text


@contextmanager
def wsgi(application: str, env: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of a site under gunicorn, for the time of a `with` block."""
    # Its control socket has one path for all gunicorns of a user.
    options = ["--bind", "127.0.0.1:0", "--threads", "2", "--no-control-socket"]
    command = [sys.executable, "-m", "gunicorn", application, *options]
    with program(*command, env=env, cwd=folder) as site:
        yield site.wait_for_output(r"http://[^\s/]+(?= \()").group()


@contextmanager
def asgi(application: str, env: dict[str, str], folder: Path) -> Iterator[str]:
    """The same under uvicorn."""
    command = [sys.executable, "-m", "uvicorn", application, "--port", "0"]
    with program(*command, env=env, cwd=folder) as site:
        yield site.wait_for_output(r"http://[^\s/]+(?= \()").group()


def ended(relay_url: str, page: str) -> tuple[str, object]:
    """How the task ended that a page shows, told to whoever has the page's token."""
    ((task, token),) = _ELEMENT.findall(page)
    headers = {"Authorization": f"Bearer {token}"}
    told = httpx.get(f"{relay_url}/api/tasks/{task}?wait=20", headers=headers, timeout=30).json()
    return told["name"], told["result"]


def test_django_works_as_shown(own_env: dict[str, str], tmp_path: Path) -> None:
    files = {
        "__init__.py": "from proj.celery import app\n",
        "celery.py": "import os\n\nos.environ['DJANGO_SETTINGS_MODULE'] = 'proj.settings'\n"
        + shown("django.md", "autodiscover_tasks"),
        "settings.py": _SETTINGS,
        "tasks.py": _TASKS,
        "urls.py": _URLS,
        "wsgi.py": "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n",
        "asgi.py": shown("django.md", "get_asgi_application"),
        "showing.py": shown("django.md", "def begin"),
        "waiting.py": shown("django.md", "def total"),
        "templates/task.html": shown("django.md", "<watcher-task"),
    }
    (tmp_path / "proj" / "templates").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "proj" / name).write_text(text)
    env = {**own_env, "WATCHER_SECRET": _SECRET}
    with worker("proj", pool="solo", env=env, cwd=tmp_path), relay("proj", env=env, cwd=tmp_path) as serving:
        with wsgi("proj.wsgi", env, tmp_path) as site:
            assert ended(serving.url, httpx.get(site, timeout=30).text) == ("proj.tasks.add", 5)
        with asgi("proj.asgi:application", env, tmp_path) as site:
            assert httpx.get(f"{site}/sum", timeout=30).json() == {"sum": 5}


def test_flask_works_as_shown(own_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "showing.py").write_text(shown("flask.md", "def begin"))
    (tmp_path / "waiting.py").write_text(shown("flask.md", "def total"))
    env = {**own_env, "WATCHER_SECRET": _SECRET, "PYTHONPATH": str(ROOT)}
    with worker("tasks", pool="solo", env=own_env), relay("tasks", env=env) as serving:
        with wsgi("showing:web", env, tmp_path) as site:
            page = httpx.post(f"{site}/primes", timeout=30).text
            assert ended(serving.url, page) == ("tasks.count_primes", 216816)
        token = issue(_SECRET, watch=["task:*"], submit=["tasks.*"])
        with wsgi("waiting:web", {"WATCHER_URL": serving.url, "WATCHER_TOKEN": token}, tmp_path) as site:
            assert httpx.get(f"{site}/sum", timeout=30).json() == {"sum": 5}

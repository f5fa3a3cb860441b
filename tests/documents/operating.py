"""What docs/operating.md shows, with a test's own addresses and files in it; and who may do what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from tests.documents.shown import blocks, indented
from tests.relay.serving import append
from tests.support.events import event
from tests.support.processes import ROOT
from tests.support.valkey import Valkey

DOCUMENT: Final = "docs/operating.md"
USER, GROUPS = "X-Forwarded-Email", "X-Forwarded-Groups"


def block(language: str, containing: str) -> str:
    """The one block of this language that contains a text."""
    (found,) = (each.text for each in blocks(DOCUMENT) if each.language == language and containing in each.text)
    return found


def variables(beginning: str) -> dict[str, str]:
    """The variables of the indented block that begins so, without what is said of them."""
    (found,) = (each.text for each in indented(DOCUMENT) if each.text.startswith(beginning))
    return dict(re.findall(r"^(\w+)=(\S+)", found, flags=re.MULTILINE))


def put(shown: str, own: Mapping[str, str]) -> str:
    """The text with other parts in it; each has to be there."""
    for part, other in own.items():
        assert part in shown, f"{part!r} is not in {shown!r}"
        shown = shown.replace(part, other)
    return shown


def people(folder: Path) -> dict[str, str]:
    """The variables for an identity proxy and the claims as they are shown; the proxy is on this machine."""
    claims = folder / "claims.toml"
    claims.write_text(block("toml", "[users."), encoding="utf-8")
    shown = variables("WATCHER_AUTH_HEADER")
    assert (shown["WATCHER_AUTH_HEADER"], shown["WATCHER_AUTH_GROUPS_HEADER"]) == (USER, GROUPS)
    own = {"WATCHER_TRUSTED_PROXIES": ("10.0.0.5", "127.0.0.1"), "WATCHER_CLAIMS": ("/etc/watcher/claims.toml", claims)}
    return shown | {name: put(shown[name], {was: str(now)}) for name, (was, now) in own.items()}


def reports(folder: Path, server: Valkey) -> dict[str, str]:
    """The app ``reports``, which has a task of the claims beside those of ``tasks``, and tasks of each kind to see."""
    (folder / "reports.py").write_text("from tasks import app\n\n\n@app.task(name='reports.daily')\ndef daily(): ...\n")
    seen = {"daily": "reports.daily", "weekly": "reports.weekly", "other": "tasks.add", "tagged": "tasks.add"}
    for time, (name, task) in enumerate(seen.items(), start=1):
        tags = ("reporting",) if name == "tagged" else ()
        append(server, event(name, "STARTED", float(time), name=task, root_id=name, tags=tags))
    return {
        "PYTHONPATH": f"{folder}:{ROOT}",
        "WATCHER_REDIS_URL": server.url(0),
        "CELERY_BROKER_URL": server.url(15),
        "CELERY_RESULT_BACKEND": server.url(14),
    }


class Rights(NamedTuple):
    """What somebody was found to be able to do."""

    sees: frozenset[str]
    submits: frozenset[str]
    revokes: bool


def rights(client: httpx.Client) -> Rights:
    """What a client may do at a relay of the app ``reports``."""
    sees = {name for name in ("daily", "weekly", "other", "tagged") if _may(client.get(f"/api/tasks/{name}"))}
    orders: dict[str, list[int]] = {"reports.daily": [], "tasks.add": [2, 3]}
    submits = {
        task for task, args in orders.items() if _may(client.post("/api/tasks", json={"task": task, "args": args}))
    }
    return Rights(frozenset(sees), frozenset(submits), _may(client.post("/api/tasks/other/revoke", json={})))


def _may(answer: httpx.Response) -> bool:
    assert answer.status_code in (200, 202, 403, 404), answer.text
    return answer.is_success


ALICE: Final = Rights(
    frozenset(("daily", "weekly", "other", "tagged")), frozenset(("reports.daily", "tasks.add")), revokes=True
)
REPORTING: Final = Rights(frozenset(("daily", "weekly", "tagged")), frozenset(("reports.daily",)), revokes=False)
ANYBODY: Final = Rights(frozenset(("daily",)), frozenset(), revokes=False)

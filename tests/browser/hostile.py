"""A Celery app whose tasks are called, take, report, return and raise what tries to be more than a text."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task

import watcher

#: What must be shown, and never happen.
MARKUP = (
    "<img src=x onerror=window.pwned=1><script>window.pwned=2</script><svg onload=window.pwned=3></svg>"
    "<a href='javascript:window.pwned=4'>x</a><iframe srcdoc='<script>parent.pwned=5</script>'></iframe>"
    "javascript:window.pwned=6 data:text/html,<script>opener.pwned=7</script> https://evil.example/?x"
    "{{constructor.constructor('window.pwned=8')()}}${window.pwned=9}</pre></title></textarea><style>*{display:none}</style>"
)
#: Overrides of the direction, joiners, control characters, a terminal's commands.
CONTROL = "\u202eexe.gnp\u2066\u200d\u0007\u0000\x1b[2J\x1b]0;pwned\x07\x9b31m\u2028[red]x[/red]"
TEXT = MARKUP + CONTROL
NAMES = ("__proto__", "constructor", "toString", "hasOwnProperty")

app = Celery("hostile", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND"))
watcher.install(app)


@app.task(name=f"hostile.{TEXT}"[:250], bind=True)
def everything(self: Task[Any, Any], how: str, *_: Any, **__: Any) -> Any:
    """<img src=x onerror=window.pwned=10>"""
    values = {TEXT: [TEXT, dict.fromkeys(NAMES, TEXT)], "big": "<b>" * 1000}
    if how == "report":
        for state in (*NAMES, TEXT[:200], "PROGRESS"):
            self.update_state(
                state=state, meta={"current": 1, "total": 2, "description": TEXT, **dict.fromkeys(NAMES, 1)}
            )
    if how == "huge":
        return "<b>\u202e" * 1_000_000
    if how == "fail":
        raise type(f"Error{MARKUP}", (Exception,), {})(TEXT)
    return values


@app.task(name="constructor")
def constructor(x: Any = "\u202e<img src=x onerror=window.pwned=11>") -> Any:
    return {"__proto__": {"polluted": True}, "constructor": {"prototype": {"polluted": True}}, "x": x}

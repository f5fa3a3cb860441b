"""A Celery app whose tasks are given secrets, return them, report them and stumble over them."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from celery import Celery, Task

import watcher

SECRET = "hunter2"
CARD = "4711-0815"

app = Celery("tests.worker.secretive", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(result_backend=os.environ["CELERY_RESULT_BACKEND"], broker_connection_retry_on_startup=True)


def redact(value: Any, _task: str, field: str) -> Any:
    return f"a card in {field}" if CARD in repr(value) else value


watcher.install(app, redact=redact)


@app.task(name="login")
def login(user: str, password: str, options: Any = None, api_key: str = "hunter2") -> Any:
    return {"user": user, "session": {"access_token": password}}


@app.task(name="explode")
def explode(dsn: str) -> None:
    password = dsn.split(":")[2].split("@", maxsplit=1)[0]
    raise ConnectionError(f"{dsn} is away, tried with password={password!r}")


@app.task(name="bank", bind=True, watcher={"redact": ["iban"]})
def bank(self: Task[Any, Any], iban: str, amount: float) -> Any:
    self.update_state(state="PROGRESS", meta={"iban": iban, "current": 1, "total": 2})
    return [{"IBAN": iban, "amount": amount}]


@app.task(name="silent", watcher={"args": False, "results": False})
def silent(text: str) -> str:
    return text


@app.task(name="card")
def card(text: str) -> str:
    return text


@app.task(name="run")
def run(command: list[str]) -> None:
    raise subprocess.CalledProcessError(1, command)


@app.task(name="large")
def large(size: int) -> Any:
    return {"password": SECRET, "filler": "x" * size}

"""Celery in a FastAPI app: submit a task, await its result, stream its progress to the browser.

celery -A reports worker -l info       # in this folder, with a Redis on this machine
uvicorn reports:web                    # then open http://127.0.0.1:8000/
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from celery import Celery, Task
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, StreamingResponse

import watcher
from watcher.direct import Results

celery = Celery(
    "reports",
    broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "redis://127.0.0.1:6379/1"),
)
watcher.install(celery)


@celery.task
def word_count(text: str) -> int:
    return len(text.split())


@celery.task(bind=True)
def write_report(self: "Task[..., Any]", pages: int) -> dict[str, int]:
    for page in range(1, pages + 1):
        time.sleep(0.05)  # the work
        self.update_state(state="PROGRESS", meta={"current": page, "total": pages})
    return {"pages": pages}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    # One for the whole process: all requests that wait share its connections to Redis.
    async with watcher.results(celery) as results:
        yield {"results": results}


def opened(request: Request) -> Results:
    results: Results = request.state.results
    return results


web = FastAPI(lifespan=lifespan)
AllResults = Annotated[Results, Depends(opened)]


@web.get("/")
def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("reports.html"))


@web.get("/words")
async def count(text: str, results: AllResults) -> dict[str, int]:
    # delay() talks to the broker, and blocks while it does: not on the event loop. Waiting takes no thread.
    task = await asyncio.to_thread(word_count.delay, text)
    try:
        return {"words": await results.wait(task, timeout=30)}
    except TimeoutError:
        raise HTTPException(504, f"task {task.id} still runs") from None


@web.post("/reports", status_code=202)
def begin(pages: int) -> dict[str, str]:
    return {"id": write_report.delay(pages).id}


@web.get("/reports/{task_id}/events")
async def follow(
    task_id: str, results: AllResults, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    # A browser that lost the connection says by Last-Event-ID what it has seen: the stream goes on after that. Who may
    # see which task is for you to decide, here.
    stream = results.sse(task_id, last_event_id=last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

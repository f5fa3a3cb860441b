import time
from typing import Any

from celery import Task, shared_task


@shared_task(bind=True)
def write_report(self: "Task[..., Any]", pages: int) -> dict[str, int]:
    for page in range(1, pages + 1):
        time.sleep(0.05)  # the work
        self.update_state(state="PROGRESS", meta={"current": page, "total": pages})
    return {"pages": pages}


@shared_task
def word_count(text: str) -> int:
    return len(text.split())


@shared_task
def tidy_up() -> str:
    """Sent by Celery beat; see CELERY_BEAT_SCHEDULE."""
    return "tidy"

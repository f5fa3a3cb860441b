import os
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

import watcher

from .tasks import word_count, write_report


def index(request: HttpRequest) -> HttpResponse:
    """A page; its form begins a report, and `<watcher-task>` shows how far it is."""
    context: dict[str, Any] = {"relay": settings.WATCHER_RELAY}
    if request.method == "POST":
        task = write_report.delay(40)
        context["task"] = task.id
        # The token lets this browser watch this one task. A relay without a secret wants none.
        context["token"] = watcher.token(task) if "WATCHER_SECRET" in os.environ else ""
    return render(request, "reports/index.html", context)


async def words(request: ASGIRequest) -> HttpResponse:
    """An async view that awaits a result: no thread waits, and nothing is polled."""
    results = request.scope["state"]["results"]  # see shop/asgi.py
    task = await sync_to_async(word_count.delay)(request.GET.get("text", ""))  # sending blocks for a moment
    try:
        return JsonResponse({"words": await results.wait(task, timeout=30)})
    except TimeoutError:
        return JsonResponse({"detail": f"task {task.id} still runs"}, status=504)

"""For uvicorn, daphne and the like: Django, around which the results are opened once for the process.

Django takes no part in ASGI's lifespan, so Starlette does, which celery-watcher brings with it. A view finds what is
opened there in `request.scope["state"]`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount

import watcher

from .celery import app


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
    async with watcher.results(app) as results:
        yield {"results": results}


application = Starlette(routes=[Mount("/", get_asgi_application())], lifespan=lifespan)

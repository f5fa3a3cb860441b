"""The app of tests.worker.app with a Celery that lacks what the environment names, as another version of it may."""

from __future__ import annotations

import os
from importlib import import_module

# What imports the rest, and so would not be imported itself.
for whole in ("celery.app.task", "celery.app.trace", "celery.utils.serialization"):
    import_module(whole)

for path in os.environ["MISSING"].split():
    module, _, name = path.partition(":")
    owner = import_module(module)
    *owners, name = name.split(".")
    for each in owners:
        owner = getattr(owner, each)
    delattr(owner, name)

from tests.worker.app import app  # noqa: E402 - it is imported with the Celery that is left

__all__ = ["app"]

"""`celery worker -I bench.collecting`: pool processes collect their garbage now and then, so that what grows is none.

A failed task's traceback is in a cycle, with the plugin and without. Python collects those that are old when a quarter
of all objects has come since: by then a pool process has some 60 MiB of them.
"""

from __future__ import annotations

import gc
import itertools
from typing import Any

from celery.signals import task_postrun

#: After so many tasks of a process.
_TASKS = 200
_ended = itertools.count(1)


def _collect(**_: Any) -> None:
    if next(_ended) % _TASKS == 0:
        gc.collect()


task_postrun.connect(_collect, weak=False)

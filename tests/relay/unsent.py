"""Tasks whose own ``apply_async`` doesn't send them, as those of celery-singleton, celery-once and celery-heimdall."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task, states
from celery.result import EagerResult, ResultSet
from kombu import Connection
from kombu.utils.uuid import uuid
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class AlreadyQueued(Exception):
    """As celery-once has it."""


class Singleton(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """One at a time: who comes second is given the result of the first, or (``refuses``) an error that names it."""

    abstract = True
    refuses = False

    def apply_async(self, *given: Any, **options: Any) -> Any:
        task_id = options.setdefault("task_id", uuid())
        with _redis(self) as redis:
            if not redis.set(f"lock:{self.name}", str(task_id), nx=True):
                held = bytes(redis.get(f"lock:{self.name}") or b"").decode()
                if self.refuses:
                    error: Any = AlreadyQueued(f"it is {held}")
                    error.task_id = held
                    raise error
                return self.AsyncResult(held)
        return super().apply_async(*given, **options)


class Refusing(Singleton):
    abstract = True
    refuses = True


class Returning(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Sends nothing, and returns what its ``answer`` makes of the id."""

    abstract = True

    def answer(self, task_id: str) -> Any:
        return None

    def apply_async(self, *given: Any, task_id: Any = None, **options: Any) -> Any:
        return self.answer(task_id)


class Graceful(Returning):
    """As celery-once's, where ``once`` is graceful."""

    abstract = True

    def answer(self, task_id: str) -> Any:
        result: Any = EagerResult
        return result(None, None, states.REJECTED)


class Eager(Returning):
    abstract = True

    def answer(self, task_id: str) -> Any:
        return self.apply((), {}, task_id=task_id)


class Later(Returning):
    """Has somebody else send it, under the id that it was given: an outbox."""

    abstract = True

    def answer(self, task_id: str) -> Any:
        return self.AsyncResult(task_id)


class Renaming(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Sends it under an id of its own."""

    abstract = True
    tells = True

    def apply_async(self, *given: Any, **options: Any) -> Any:
        sent = super().apply_async(*given, **{**options, "task_id": f"own-{options.get('task_id')}"})
        return sent if self.tells else None


class Silent(Renaming):
    abstract = True
    tells = False


class Mislabelled(Silent):
    """Sends it under an id of its own, and tells the one that it was given."""

    abstract = True

    def apply_async(self, *given: Any, **options: Any) -> Any:
        super().apply_async(*given, **options)
        return self.AsyncResult(options["task_id"])


class Parted(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Sends other tasks in its place, and returns their group."""

    abstract = True

    def apply_async(self, *_: Any, **options: Any) -> Any:
        part: Any = self.app.tasks["own.later"]
        sent = [part.apply_async((number,), task_id=f"{options['task_id']}-{number}") for number in (1, 2)]
        for each in sent:
            self.app.send_task("own.part", task_id=each.id)
        return ResultSet(sent)


class Afterwards(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Sends it, and then fails."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        super().apply_async(*args, **options)
        raise RuntimeError("too late")


class Noisy(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Sends it, and then something else to a broker that isn't there."""

    abstract = True

    def apply_async(self, *given: Any, **options: Any) -> Any:
        sent = super().apply_async(*given, **options)
        once = {"max_retries": 0, "interval_start": 0, "interval_step": 0}
        with Connection("redis://127.0.0.1:1/0", transport_options=once) as nowhere:
            self.app.send_task("elsewhere", connection=nowhere, retry=False)
        return sent


class Hostile(Returning):
    """Returns what can't be looked at, or raises it."""

    abstract = True
    raises = False

    def answer(self, task_id: str) -> Any:
        def broken(_: Any) -> str:
            raise KeyError("no")

        class Odd(Exception):
            id = message = task_id = property(broken)
            __str__ = __repr__ = broken

        if self.raises:
            raise Odd
        return Odd()


class Raising(Hostile):
    abstract = True
    raises = True


class Slow(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Waits for its lock, longer than anybody who submits does, and then sends nothing, unless it may at once."""

    abstract = True

    def apply_async(self, *given: Any, **options: Any) -> Any:
        with _redis(self) as redis:
            if redis.exists("sends"):
                return super().apply_async(*given, **options)
            redis.blpop(["gate"], timeout=20)
        return None


class Locked(Task):  # type: ignore[type-arg] # up to Celery 5.6 it takes none at run time
    """Asks a server for its lock that isn't there."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)).get("lock")


KINDS = {
    "singleton": Singleton,
    "refusing": Refusing,
    "nothing": Returning,
    "graceful": Graceful,
    "eager": Eager,
    "later": Later,
    "renaming": Renaming,
    "silent": Silent,
    "mislabelled": Mislabelled,
    "parted": Parted,
    "afterwards": Afterwards,
    "locked": Locked,
    "noisy": Noisy,
    "hostile": Hostile,
    "raising": Raising,
    "slow": Slow,
}


def register(app: Celery) -> Celery:
    """Give ``app`` a task of each kind."""
    for name, kind in KINDS.items():

        def run(x: int = 0) -> int:
            return x

        app.task(name=f"own.{name}", base=kind, shared=False)(run)
    return app


def _redis(task: Task[Any, Any]) -> Redis:
    return Redis.from_url(str(task.app.conf.result_backend))


#: For a relay and a worker in processes of their own.
app = register(
    Celery(
        "tests.relay.unsent",
        broker=os.environ.get("CELERY_BROKER_URL", "memory://"),
        backend=os.environ.get("CELERY_RESULT_BACKEND"),
        set_as_current=False,
    )
)

"""`watcher up`: worker, relay and page for any Celery app on one machine, for development."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import click
from anyio import to_thread
from celery import Celery

from watcher.cli.exposed import exposed_by_target
from watcher.cli.options import (
    app_option,
    configure_logging,
    ending,
    load_app,
    load_settings,
    relay_options,
    say,
    say_once,
)
from watcher.cli.port import address_of, listen_nearby
from watcher.cli.running import Ending, leave_quietly, run, until_signalled
from watcher.cli.serve import announce
from watcher.core.errors import WatcherError
from watcher.core.settings import Settings, setting
from watcher.dev.child import ChildProcess
from watcher.dev.provide import provide_redis
from watcher.dev.worker import Worker, WorkerOptions
from watcher.journal.configured import journal_target
from watcher.journal.connect import Target

__all__ = ["up"]

#: Seconds in which the relay disconnects its clients, while the worker finishes its tasks.
_DRAIN_SECONDS: Final = 8.0
#: Seconds after which a worker that is not ready is mentioned.
_SLOW_START_SECONDS: Final = 15.0


class ChildEnded(WatcherError):
    """The worker or the embedded server exited unexpectedly."""


@click.command(short_help="Run a worker, the relay and the page, for development.")
@app_option
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Directory for the archive and an embedded Valkey's data. Without it, both are lost.")  # fmt: skip
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), help="Number of worker processes or threads, as for celery worker."
)
@click.option("-P", "--pool", help="The worker's pool: prefork, threads, solo, gevent.")
@click.option("-Q", "--queues", help="Queues that the worker consumes, separated by commas.")
@relay_options
def up(
    *,
    app: str | None,
    data: Path | None,
    concurrency: int | None,
    pool: str | None,
    queues: str | None,
    insecure: bool,
    loglevel: str,
    **options: str | None,
) -> None:
    """Run a worker, the relay and the page for a Celery app on this machine.

    Prints the page's address on standard output when tasks can be submitted. Only a Redis on loopback, or one named by
    --redis-url, is used; if none answers, an embedded Valkey replaces it.
    """
    leave_quietly()
    configure_logging(loglevel)
    if app is None:
        raise click.UsageError("name the Celery app: watcher up -A proj")
    worker_options = WorkerOptions(concurrency, pool, queues, loglevel)
    with ending(), ExitStack() as stack:
        settings = load_settings(options, insecure=insecure)
        celery = load_app(app)
        sock = stack.enter_context(_listen(settings))
        servers = provide_redis(settings, celery, data, stack, say)
        settings = load_settings(options, insecure=insecure)  # again: an embedded server may hold the journal now
        if data is not None and settings.archive is None:
            settings = replace(settings, archive=f"sqlite:///{data.absolute() / 'archive.db'}")
        target = journal_target(settings, celery)
        for line in exposed_by_target(target):
            say_once(line)
        environment = {**os.environ, **_as_variables(options)}
        guarded = [server.process for server in servers]
        worker = stack.enter_context(Worker(app, worker_options, env=environment, outlived_by=guarded))
        run(lambda: _supervise(settings, celery, target, sock=sock, worker=worker, servers=guarded))


def _listen(settings: Settings) -> socket.socket:
    sock = listen_nearby(settings.host, settings.port)
    taken: int = sock.getsockname()[1]
    if settings.port not in (0, taken):
        say(f"port {settings.port} is in use; the next free one is {taken}")
    return sock


def _as_variables(options: Mapping[str, str | None]) -> dict[str, str]:
    """The settings given as options, as environment variables for the worker."""
    return {setting(name).variable: value for name, value in options.items() if value is not None}


async def _supervise(
    settings: Settings,
    app: Celery,
    target: Target,
    *,
    sock: socket.socket,
    worker: Worker,
    servers: Sequence[ChildProcess],
) -> None:
    """Run the relay beside the worker until a signal, or until one of them fails.

    :raises ChildEnded: the worker or the embedded server exited unexpectedly.
    :raises RedisUnreachable: Redis doesn't answer at the relay's start.
    """
    from watcher.relay import server  # noqa: PLC0415 - only now is it needed, and it takes a while

    failures: list[str] = []
    relay_ready = anyio.Event()
    relay = anyio.CancelScope()

    async def watch(child: ChildProcess, name: str) -> None:
        code = await to_thread.run_sync(child.wait, abandon_on_cancel=True)
        if not end.asked.is_set():
            failures.append(f"the {name} exited unexpectedly (code {code}); its output is above")
            end.asked.set()

    async with until_signalled() as end, anyio.create_task_group() as group:
        group.start_soon(watch, worker, "worker")
        for valkey in servers:
            group.start_soon(watch, valkey, "embedded Valkey")
        group.start_soon(_announce, relay_ready, worker, address_of(sock, settings))
        group.start_soon(_stop, end, worker, relay)
        with relay:
            await server.serve(settings, app=app, redis=target, sock=sock, started=relay_ready.set, stop=end.asked)
        await to_thread.run_sync(worker.close)
        group.cancel_scope.cancel()
    if failures:
        raise ChildEnded(failures[0])


async def _announce(relay_ready: anyio.Event, worker: Worker, address: str) -> None:
    """Print the address once relay and worker are ready to take a task."""
    await relay_ready.wait()
    with anyio.move_on_after(_SLOW_START_SECONDS) as patience:
        is_ready = await worker.ready()
    if patience.cancelled_caught:
        say("the worker is not ready yet; its log says why")
        is_ready = await worker.ready()
    if is_ready:
        announce(address)


async def _stop(end: Ending, worker: Worker, relay: anyio.CancelScope) -> None:
    """On the first signal stop worker and relay side by side, on the second at once."""
    await end.asked.wait()
    worker.release()
    relay.deadline = anyio.current_time() + _DRAIN_SECONDS
    await end.urgent.wait()
    worker.hurry()
    relay.cancel()

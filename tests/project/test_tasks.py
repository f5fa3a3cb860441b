"""Every task of the app that comes with the project, in a real worker, over a real broker."""

from __future__ import annotations

import base64
import importlib.util
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from tests.support.apps import let_go
from tests.support.processes import ROOT, environment, worker
from tests.support.valkey import valkey_server
from tests.support.waiting import wait_for


def load(name: str) -> ModuleType:
    """A module of `tasks` by its file: importing the package would make this process publish to the app's own Redis."""
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", ROOT / "tasks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


picture = load("picture")
sieve = load("sieve")


def python(script: str, env: dict[str, str] | None = None) -> str:
    """What a script prints, run from the checkout."""
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment(env))
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    """A server and a prefork worker for the tests of this module; the environment of programs that use them."""
    with valkey_server() as valkey:
        env = {"CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14)}
        with worker(env=env):
            yield env


@pytest.fixture
def client(env: dict[str, str]) -> Iterator[Celery]:
    """An app that sends tasks by name: the one in `tasks` would keep the server of the first test that used it."""
    app = Celery("client", broker=env["CELERY_BROKER_URL"], backend=env["CELERY_RESULT_BACKEND"], set_as_current=False)
    app.conf.accept_content = ["json"]
    with app:
        yield app
        let_go(app)


def send(client: Celery, name: str, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
    return client.send_task(f"tasks.{name}", args, kwargs)


def test_hello_world(client: Celery) -> None:
    result = send(client, "test", 7)
    assert result.get(timeout=10) == 8
    assert result.ready()


def test_classic_script_works_as_it_is(env: dict[str, str]) -> None:
    script = "from tasks import test\nresult = test.delay(7)\nprint(result.get(timeout=10), result.ready())"
    assert python(script, env) == "8 True"


def test_add(client: Celery) -> None:
    assert send(client, "add", 2, 3).get(timeout=10) == 5
    assert send(client, "add", x=0.5, y=0.25).get(timeout=10) == 0.75


def test_word_count(client: Celery) -> None:
    assert send(client, "word_count", "drei  chinesen\nmit dem kontrabass ").get(timeout=10) == 5


@pytest.mark.parametrize(("texts", "words"), [(["a b c", "", "d"], 4), (["one"], 1), ([], 0)])
def test_words_of_many_texts_are_counted_by_a_chord(client: Celery, texts: list[str], words: int) -> None:
    started = send(client, "count_words_of_many", texts).get(timeout=10)
    assert client.AsyncResult(started["total"]).get(timeout=10) == words


def test_primes_are_counted_and_progress_is_reported(client: Celery) -> None:
    assert send(client, "count_primes", 120_000_000).get(timeout=60) == 6_841_648
    result = send(client, "count_primes", 100_000_000_000)  # minutes, on whatever machine
    seen = wait_for(lambda: progress_of(result), what="progress to be reported")
    assert 0 < seen["current"] <= seen["total"] == 100_000_000_000
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)


def progress_of(result: AsyncResult[Any]) -> dict[str, int] | None:
    state: str = result.state
    return result.info if state == "PROGRESS" else None


@pytest.mark.parametrize(
    ("limit", "primes"),
    [(-1, 0), (0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (100, 25), (10**6, 78_498), (4_000_002, 283_146)],
)
def test_sieve_counts_what_the_tables_say(limit: int, primes: int) -> None:
    counted = list(sieve.count_in_blocks(limit))
    assert sum(found for _, found in counted) == primes
    assert not counted or counted[-1][0] == limit


def test_sleep_returns_its_seconds(client: Celery) -> None:
    assert send(client, "sleep", 0.01).get(timeout=10) == 0.01


def test_fail_fails_with_its_message(client: Celery) -> None:
    result = send(client, "fail", "so it is")
    with pytest.raises(RuntimeError, match="so it is"):
        result.get(timeout=10)
    assert "raise RuntimeError(message)" in str(result.traceback)


def test_flaky_is_retried_until_it_succeeds(client: Celery) -> None:
    result = send(client, "flaky", 1)
    assert result.get(timeout=15) == "succeeded at try 2"
    assert send(client, "flaky", 0).get(timeout=10) == "succeeded at try 1"


def test_flaky_gives_up_in_the_end() -> None:
    # Applied on the spot: in a worker the fifth retry would come after half a minute.
    assert python("import tasks; print(repr(tasks.flaky.apply((9,)).result))").startswith("ConnectionError('try 6 ")


PAINT = """
import json
from celery.result import GroupResult
from tasks import app, mandelbrot
painting = mandelbrot.delay(columns=2, rows=1, size=16).get(timeout=10)
print(json.dumps(GroupResult.restore(painting["group"], app=app).join(timeout=20)))
"""


def test_picture_is_painted_by_a_group_of_tiles(env: dict[str, str]) -> None:
    tiles = json.loads(python(PAINT, env))
    assert [(tile["left"], tile["size"]) for tile in tiles] == [(-2.25, 16), (-0.75, 16)]
    for tile in tiles:
        assert pixels(tile["image"]) == picture.render(tile["left"], tile["top"], 3.0 / 32, 16)


def test_a_tile_fits_into_an_event_whatever_is_in_it(client: Celery) -> None:
    noise = random.Random(7).randbytes(picture.MOST_PIXELS)
    assert len(picture.png(noise, 96)) < 16_384 - 200
    with pytest.raises(ValueError, match="size=97"):
        send(client, "mandelbrot_tile", 0, 0, 1, 97).get(timeout=10)


def test_tile_is_the_mandelbrot_set() -> None:
    grey = picture.render(-2.0, 1.0, 0.5, 5)  # the corners of a grid around the origin
    assert grey[2 * 5 + 4] == 0, "the origin never escapes"
    assert grey[0] == 1, "-2+1i is outside of the circle of radius 2 at once"


def pixels(data_url: str) -> bytes:
    """Decode a grey PNG without filters, as any viewer would."""
    kind, _, payload = data_url.partition(",")
    assert kind == "data:image/png;base64"
    data = base64.b64decode(payload)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    offset, packed, width = 8, b"", 0
    while offset < len(data):
        (length,), name = struct.unpack(">I", data[offset : offset + 4]), data[offset + 4 : offset + 8]
        body = data[offset + 8 : offset + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack(">I", data[offset + 8 + length : offset + 12 + length])[0]
        width = struct.unpack(">I", body[:4])[0] if name == b"IHDR" else width
        packed += body if name == b"IDAT" else b""
        offset += 12 + length
    rows = zlib.decompress(packed)
    return b"".join(rows[start + 1 : start + 1 + width] for start in range(0, len(rows), width + 1))


def test_app_speaks_json_only() -> None:
    script = (
        "from tasks import app; print(app.conf.accept_content, app.conf.task_serializer, app.conf.result_serializer)"
    )
    assert python(script) == "['json'] json json"


def test_defaults_are_a_redis_on_this_machine() -> None:
    script = "from tasks import app; print(app.conf.broker_url, app.conf.result_backend)"
    assert python(script) == "redis://127.0.0.1:6379/15 redis://127.0.0.1:6379/14"


CHILDREN = '''
"""A task that starts processes of its own, in each way that docs/tasks.md names."""
import os
from concurrent.futures import ProcessPoolExecutor
from billiard import Pool
from celery import Celery

app = Celery("children", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])

def square(x):
    return x * x

@app.task
def with_multiprocessing():
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(4)))

@app.task
def with_billiard():
    with Pool(2) as pool:
        return pool.map(square, range(4))
'''


@pytest.fixture
def children(tmp_path: Path, env: dict[str, str]) -> dict[str, str]:
    """The environment of a worker for that app, which takes tasks from a queue of its own."""
    (tmp_path / "children.py").write_text(CHILDREN)
    return {**env, "PYTHONPATH": str(tmp_path)}


def start(client: Celery, way: str) -> AsyncResult[Any]:
    return client.send_task(f"children.{way}", queue="children")


def test_task_that_starts_processes_fails_in_a_prefork_worker(client: Celery, children: dict[str, str]) -> None:
    with worker("children", "-Q", "children", concurrency=1, env=children):
        result = start(client, "with_multiprocessing")
        with pytest.raises(AssertionError, match="daemonic processes are not allowed to have children"):
            result.get(timeout=15)


def test_recommended_way_for_it_to_start_processes_works(client: Celery, children: dict[str, str]) -> None:
    with worker("children", "-Q", "children", concurrency=1, env=children):
        assert start(client, "with_billiard").get(timeout=15) == [0, 1, 4, 9]


def test_python_optimize_lets_it_start_processes(client: Celery, children: dict[str, str]) -> None:
    with worker("children", "-Q", "children", concurrency=1, env=children, optimize=True):
        result = start(client, "with_multiprocessing")
        assert result.get(timeout=15) == [0, 1, 4, 9]

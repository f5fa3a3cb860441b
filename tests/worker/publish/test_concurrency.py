"""What threads are, before and after they are replaced; in processes of their own, since nothing takes that back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from queue import Empty, SimpleQueue

import pytest

from tests.support.processes import ROOT, environment
from watcher.worker.publish.concurrency import _Greenlets, greenlets, new_queue, terminated_when_idle, threads_run

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "gevent, not threads": "from gevent import monkey; monkey.patch_all(thread=False)",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "eventlet, not threads": "import eventlet; eventlet.monkey_patch(thread=False)",
}


def test_plain_process_uses_threads_and_simple_queue() -> None:
    assert not greenlets()
    assert threads_run()
    assert not terminated_when_idle()
    assert isinstance(new_queue(), SimpleQueue)


@pytest.mark.parametrize("how", PATCHES)
def test_what_is_replaced_later_is_found_when_it_is_needed(how: str) -> None:
    program = f"""
        import threading, time
        from queue import Empty
        from watcher.worker.publish.concurrency import greenlets, new_queue
        before = new_queue()
        {PATCHES[how]}
        assert greenlets() == {"not threads" not in how}
        queue, found = new_queue(), []
        assert (type(queue) is type(before)) == (not greenlets())
        threading.Thread(target=lambda: found.append(queue.get())).start()
        threading.Thread(target=lambda: queue.put(1)).start()
        end = time.monotonic() + 10
        while not found and time.monotonic() < end:
            time.sleep(0.001)
        assert found == [1]
        try:
            queue.get(timeout=0.01)
        except Empty:
            print("ok")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        env=environment(), cwd=ROOT, text=True, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.stdout == "ok\n", done.stderr


def test_the_queue_of_greenlets_is_one_for_threads_too() -> None:
    queue, taken = _Greenlets[int](), list[int]()

    def take() -> None:
        while (item := queue.get()) >= 0:
            taken.append(item)

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(1000):
        queue.put(number)
    queue.put(-1)
    thread.join(10)
    assert taken == list(range(1000))
    assert queue.empty()
    assert queue.qsize() == 0
    with pytest.raises(Empty):
        queue.get_nowait()
    start = time.monotonic()
    with pytest.raises(Empty):
        queue.get(timeout=0.02)
    assert time.monotonic() - start >= 0.02

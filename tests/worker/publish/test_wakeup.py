"""The bell: rung from anywhere, heard once."""

from __future__ import annotations

import threading

from tests.support.waiting import wait_for
from watcher.worker.publish.wakeup import Wakeup


def test_it_rings_until_it_was_heard_however_often_it_was_rung() -> None:
    bell = Wakeup()
    assert not bell.rings
    bell.ring()
    bell.ring()
    assert bell.rings
    bell.wait(60)
    assert not bell.rings
    bell.wait(0.001)  # nobody rings, so it comes back by itself
    bell.ring()
    bell.hear()
    assert not bell.rings
    bell.hear()


def test_who_waits_is_woken_and_many_may_ring_at_once() -> None:
    bell, heard = Wakeup(), [0]

    def listen() -> None:
        while not done.is_set():
            bell.wait(60)
            heard[0] += 1

    def ring() -> None:
        for _ in range(2000):
            bell.ring()

    done = threading.Event()
    listener = threading.Thread(target=listen)
    listener.start()
    ringers = [threading.Thread(target=ring) for _ in range(4)]
    for ringer in ringers:
        ringer.start()
    for ringer in ringers:
        ringer.join()
    wait_for(lambda: heard[0] and not bell.rings, what="the last ring to be heard")
    done.set()
    bell.ring()
    listener.join(5)
    assert not listener.is_alive()

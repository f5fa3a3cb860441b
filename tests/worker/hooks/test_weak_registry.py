"""Objects by id, as long as somebody else keeps them."""

from __future__ import annotations

from watcher.worker.hooks.weak_registry import WeakRegistry


class Thing:
    pass


def test_it_has_what_somebody_keeps() -> None:
    things, one, other = WeakRegistry[Thing](), Thing(), Thing()
    things.add("one", one)
    assert things.get("one") is one
    assert things.get("other") is None
    things.add("one", other)
    assert things.get("one") is other
    del other
    assert things.get("one") is None


def test_it_does_not_grow_with_what_is_gone() -> None:
    things = WeakRegistry[Thing]()
    kept = [Thing() for _ in range(3000)]
    for number, thing in enumerate(kept):
        things.add(f"kept-{number}", thing)
    for number in range(50_000):
        things.add(f"gone-{number}", Thing())
        assert len(things) <= 6000
    assert all(things.get(f"kept-{number}") is thing for number, thing in enumerate(kept))
    kept.clear()
    for number in range(10_000):
        things.add(f"later-{number}", Thing())
    assert len(things) <= 1000

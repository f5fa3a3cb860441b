"""What is used of Celery, kombu and billiard behind their public names: what a release lacks is told by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import billiard.process
import pytest
from celery import VERSION, Celery, _state
from celery.backends.base import Backend
from celery.concurrency.base import apply_target
from celery.exceptions import Ignore, Reject
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.pidbox import Mailbox
from kombu.utils import json as kombu_json

from watcher.rendering import _celery

#: What earlier releases lack by right.
SINCE = {"celery.backends.base:COMPRESSED_PAYLOAD_MAGIC": (5, 7)}


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("insides", set_as_current=False, broker="memory://", backend="cache+memory://") as made:
        yield made


@pytest.mark.parametrize("member", _celery.MEMBERS)
def test_celery_has(member: str) -> None:
    if SINCE.get(member, ()) > VERSION:
        pytest.skip("since a later release")
    module, _, names = member.partition(":")
    found: Any = import_module(module)
    for name in names.split("."):
        assert hasattr(found, name), f"{member}: there is no {name}"
        found = getattr(found, name)


def test_celery_has_the_body_of_a_task_that_retries_by_itself(app: Celery) -> None:
    def plain(x: int) -> int:
        return x

    register: Any = app.task(name="plain", autoretry_for=(OSError,))
    task = register(plain)
    assert [*inspect.signature(_celery.written_body(task), follow_wrapped=False).parameters] == ["x"]
    assert _celery.written_body(SimpleNamespace(run=plain)) is plain


def done() -> None: ...


def test_celery_has_requests_of_other_threads(app: Celery) -> None:
    register: Any = app.task(name="some")
    task = register(done)
    stack: Any = vars(_state)["_task_stack"]
    task.push_request(id="a")
    stack.push(task)
    try:
        assert [each.id for each in _celery.requests_everywhere(task)] == ["a", "a"]
    finally:
        stack.pop()
        task.pop_request()


def test_celery_has_whose_callback_is_called_where_a_task_ends_its_thread() -> None:
    class Ended(BaseException): ...

    class Owner:
        def on_return(self, _: object) -> None: ...

    def target() -> None:
        raise Ended

    owner = Owner()
    with pytest.raises(Ended) as ended:
        apply_target(target, callback=owner.on_return, propagate=(Ended,))
    assert owner in list(_celery.callback_owners(ended.value.__traceback__))


def test_celery_raises_of_a_retry_in_retry(app: Celery) -> None:
    register: Any = app.task(name="again", max_retries=1)
    again = register(done)
    again.push_request(id="a", called_directly=False, is_eager=False, retries=0, delivery_info={})
    again.signature_from_request = unsent
    try:
        with pytest.raises(Reject) as raised:
            again.retry(countdown=0)
    finally:
        again.pop_request()
    assert _celery.in_retry(raised.value)
    assert not _celery.in_retry(Reject())


def unsent(*_: object, **__: object) -> Any:
    class Unsent:
        def apply_async(self) -> None:
            raise OSError

    return Unsent()


def test_celery_says_so_of_a_task_that_is_replaced() -> None:
    assert _celery.REPLACED[0] in str(inspect.getsource(import_module("celery.app.task").Task.on_replace))
    assert Ignore(*_celery.REPLACED).args == _celery.REPLACED


def test_celery_stores_by_functions_of_these_names(app: Celery) -> None:
    class Failing(Backend):
        def store_result(self, *_: Any, **__: Any) -> None:
            raise OSError("full")

        def on_chord_part_return(self, *_: Any, **__: Any) -> None:
            raise OSError("gone")

    backend = Failing(app=app)
    with pytest.raises(OSError, match="full") as stored:
        backend.mark_as_done("a", 1)
    assert _celery.stored_in_backend(stored.value)
    assert not _celery.counted_in_chord(stored.value)
    with pytest.raises(OSError, match="gone") as counted:
        backend.on_chord_part_return(None, "SUCCESS", 1)
    assert _celery.counted_in_chord(counted.value)


def test_celery_names_what_it_can_not_pickle() -> None:
    wrapper = UnpickleableExceptionWrapper("shop", "Odd", (), "text")
    assert _celery.unpicklable_name(wrapper) == "Odd"
    assert _celery.unpicklable_name(OSError()) is None


def test_kombu_has_names_of_tags() -> None:
    assert "datetime" in _celery.json_tags()
    assert _celery.json_tags() == sorted(vars(kombu_json)["_decoders"])


def test_kombu_sends_controls_by_other_producers(app: Celery) -> None:
    control: Any = app.control
    producers = object()
    _celery.publish_controls_by(control, producers)
    assert isinstance(control.mailbox, Mailbox)
    assert control.mailbox.producer_pool is producers
    _celery.publish_controls_by(object(), producers)


def test_billiard_has_the_parent_of_a_child() -> None:
    assert hasattr(billiard.process.BaseProcess(), "_parent_pid")
    assert not _celery.child_of_billiard(billiard.process)
    assert not _celery.child_of_billiard(SimpleNamespace(current_process=object))

"""The queue that an event names is a queue, whatever the exchange makes of the routing key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import calculate_routing_key

from tests.worker.ends import Scene, scene, value
from tests.worker.support import current
from watcher.rendering.routing import queue_of, queue_to


@pytest.fixture(scope="module", params=["prefork", "threads"])
def stage(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({}, "celery"),
        ({"queue": "feeds"}, "feeds"),
        ({"queue": "feeds", "routing_key": "feed.import"}, "feeds"),
        ({"exchange": "feeds", "routing_key": "feed.import.now"}, "feeds"),
        ({"exchange": "feeds", "routing_key": "today.news"}, "several"),
        ({"exchange": "named", "routing_key": "by.key"}, "named"),
        ({"queue": "named"}, "named"),
        ({"queue": "everyone"}, "everyone"),
    ],
)
def test_each_event_names_the_queue(stage: Scene, options: dict[str, Any], queue: str) -> None:
    # kombu's Redis transport loses what goes to a topic or fanout exchange that this very connection hasn't declared,
    # and a task that tries again declares nothing.
    task, told = ("again", {"RETRY"}) if queue in ("celery", "named") else ("n", set[str]())
    task_id = value(stage.run("sends", task, options)[-1].result)
    expected = {"PENDING", "RECEIVED", "STARTED", "SUCCESS"} | told
    events = stage.journal.until(task_id, lambda seen: expected <= set(seen))
    assert {event.state: event.queue for event in events} == dict.fromkeys(expected, queue)


@pytest.fixture
def app() -> Iterator[Celery]:
    topic = Exchange("quorum", type="topic")
    queues = [
        Queue("all", topic, routing_key="#"),
        Queue("mine", topic, routing_key="mine.*"),
        Queue("default", topic, routing_key="default"),
    ]
    made = Celery(broker="memory://", set_as_current=False)
    made.conf.task_queues = queues
    made.amqp.queues.select(["mine", "default"])
    with current(made):
        yield made


@pytest.mark.parametrize("exchange", ["celery_delayed_27", "celery_delayed_delivery", "my_celery_delayed_delivery"])
def test_a_message_that_the_broker_has_held_back_names_its_queue(app: Celery, exchange: str) -> None:
    for key, queue in (("default", "default"), ("mine.now", "mine")):
        delayed = calculate_routing_key(60, key)
        assert queue_of({"exchange": exchange, "routing_key": delayed}) == queue
        assert queue_to(Exchange(exchange, type="topic"), delayed) == queue


def test_a_worker_has_a_message_from_a_queue_that_it_reads(app: Celery) -> None:
    assert queue_to("quorum", "mine.now") == "mine"
    assert queue_to("quorum", "whatever") == "all"


def test_where_no_binding_says_it_the_key_is_taken_for_the_queue(app: Celery) -> None:
    assert queue_to("", "any") == "any"
    assert queue_to("elsewhere", "mine.now") == "mine.now"
    assert queue_of(None) is queue_of({}) is None
    assert queue_of({"exchange": "elsewhere"}) is None

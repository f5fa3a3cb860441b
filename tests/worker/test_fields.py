"""What a message tells of its task, as events have it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from celery import Celery

from tests.worker.support import current
from watcher.worker.fields import next_eta, schedule


@pytest.fixture(params=[None, "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """What a naive moment of January means in an app."""
    app = Celery(set_as_current=False)
    app.conf.update(timezone=request.param)
    with current(app):
        yield "-05:00" if request.param else "+00:00"


def test_a_moment_has_a_zone_if_its_sender_gave_none(zone: str) -> None:
    naive = datetime(2031, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as people write it
    wanted = f"2031-01-02T03:04:05{zone}"
    assert schedule({"eta": naive.isoformat(), "expires": naive}) == {"eta": wanted, "expires": wanted}
    assert next_eta(naive) == wanted


def test_a_moment_with_a_zone_stays_as_it_was_sent(zone: str) -> None:
    sent = "2031-01-02T03:04:05.000006+05:30"
    assert schedule({"eta": sent, "expires": datetime(2031, 1, 1, tzinfo=UTC)}) == {
        "eta": sent,
        "expires": "2031-01-01T00:00:00+00:00",
    }
    assert schedule({"eta": "2031-01-02T03:04:05Z"})["eta"] == "2031-01-02T03:04:05Z"


def test_what_is_no_moment_stays_as_it_was_sent(zone: str) -> None:
    assert schedule({"eta": "no time", "expires": None}) == {"eta": "no time", "expires": None}

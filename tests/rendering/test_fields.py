"""What a message tells of its task, as events have it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, Signature
from celery.exceptions import Retry

from tests.worker.support import current
from watcher.rendering.fields import next_schedule, schedule


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
    retry = Retry(when=naive, sig=Signature("t", options={"expires": naive}))
    assert next_schedule(retry, {}) == {"eta": wanted, "expires": wanted}


def test_next_try_takes_eta_and_expiry_from_the_retry() -> None:
    headers = {"expires": "2031-01-02T03:04:05Z", "eta": "2031-01-01T00:00:00Z"}
    assert next_schedule(None, headers) == {"eta": None, "expires": "2031-01-02T03:04:05Z"}
    minute: Any = 60  # celery-types wants another kind of number
    soon = next_schedule(Retry(when=minute, sig=Signature("t", options={"expires": 90})), headers)
    assert [datetime.fromisoformat(soon[name]) > datetime.now(UTC) for name in ("eta", "expires")] == [True, True]
    never = next_schedule(Retry(when=minute, sig=Signature("t", options={"expires": None})), headers)
    assert never["expires"] is None


def test_a_moment_with_a_zone_stays_as_it_was_sent(zone: str) -> None:
    sent = "2031-01-02T03:04:05.000006+05:30"
    assert schedule({"eta": sent, "expires": datetime(2031, 1, 1, tzinfo=UTC)}) == {
        "eta": sent,
        "expires": "2031-01-01T00:00:00+00:00",
    }
    assert schedule({"eta": "2031-01-02T03:04:05Z"})["eta"] == "2031-01-02T03:04:05Z"


def test_what_is_no_moment_stays_as_it_was_sent(zone: str) -> None:
    assert schedule({"eta": "no time", "expires": None}) == {"eta": "no time", "expires": None}

"""Which Redis an app names is what Celery itself makes of its settings; what can't be honoured is said in one line."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from celery import Celery

from watcher.core.errors import SettingError
from watcher.core.settings import Settings
from watcher.journal.configured import backend_target, broker_target, journal_target

TLS: dict[str, Any] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}


def app(**conf: Any) -> Celery:
    made = Celery("named", set_as_current=False)
    made.conf.update(conf)
    return made


def test_which_redis_holds_the_journal() -> None:
    redis, other, amqp = "redis://a/1", "redis://b/2", "amqp://c"
    named = app(watcher_redis_url=redis, result_backend=other, broker_url=other)
    assert journal_target(Settings(redis_url="redis://own"), named).url == "redis://own/0"
    assert journal_target(Settings(redis_url="redis://own"), None).url == "redis://own/0"
    assert journal_target(Settings(), named).url == redis
    assert journal_target(Settings(), app(result_backend=other, broker_url=redis)).url == other
    assert journal_target(Settings(), app(result_backend="db+sqlite://", broker_url=redis)).url == redis
    assert journal_target(Settings(), app(broker_url=amqp, broker_write_url=redis)).url == redis
    with pytest.raises(SettingError, match=r"there is no app \(-A\)"):
        journal_target(Settings(), None)
    for nothing in (app(broker_url=amqp), app(broker_url=amqp, result_backend="sentinel://h")):
        with pytest.raises(SettingError, match="neither the app's result backend nor its broker is a usable Redis"):
            journal_target(Settings(), nothing)
    with pytest.raises(SettingError, match="watcher_redis_url"):
        journal_target(Settings(), app(watcher_redis_url="sentinel://h"))


def test_celerys_own_settings_of_the_backend_count() -> None:
    conf: dict[str, Any] = {"redis_username": "me", "redis_password": "hunter2", "redis_backend_use_ssl": TLS}
    found = backend_target(app(result_backend="rediss://h:1/3", **conf))
    assert found is not None
    assert found.url == "rediss://me:hunter2@h:1/3"
    assert {name: found.options[name] for name in TLS} == TLS
    # What the URL says goes before them, each by itself.
    found = backend_target(app(result_backend="rediss://:other@h/3", **conf))
    assert found is not None
    assert found.url == "rediss://me:other@h/3"
    # A backend without a URL.
    found = backend_target(app(result_backend="redis", redis_host="h", redis_port=1, redis_db=5))
    assert found is not None
    assert found.url == "redis://h:1/5"


def test_celerys_own_settings_of_the_broker_count() -> None:
    found = broker_target(app(broker_url="rediss://h:1/3", broker_use_ssl=TLS, broker_user="me", broker_password="pw"))
    assert found is not None
    assert found.url == "rediss://me:pw@h:1/3"
    assert {name: found.options[name] for name in TLS} == TLS
    # Celery speaks TLS there by its dictionary, whatever the scheme.
    found = broker_target(app(broker_url="redis://h:1/3", broker_use_ssl=TLS))
    assert found is not None
    assert found.road == "tls"
    # … and without one looks at no certificate.
    found = broker_target(app(broker_url="rediss://h:1/3"))
    assert found is not None
    assert (found.road, found.options["ssl_cert_reqs"]) == ("tls", ssl.CERT_NONE)
    found = broker_target(app(broker_url="rediss://h:1/3", broker_use_ssl={"ssl_cert_reqs": None}))
    assert found is not None
    assert found.options["ssl_cert_reqs"] is None
    assert broker_target(app(broker_url="redis")) is None  # an AMQP host of that name


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("redis+socket:///run/redis.sock?virtual_host=5", "unix:///run/redis.sock?db=5"),
        ("redis+socket://me:pw@/run/redis.sock", "unix://me:pw@/run/redis.sock?db=0"),
        ("rediss://h/3?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/a%20b.pem", "rediss://h/3"),
        ("redis://h", "redis://h/0"),
    ],
)
def test_a_url_means_the_same_as_backend_and_as_broker(url: str, own: str) -> None:
    stored, broker = backend_target(app(result_backend=url)), broker_target(app(broker_url=url))
    assert stored is not None
    assert broker is not None
    assert (stored.url, broker.url) == (own, own)
    assert stored.options.get("ssl_ca_certs") == broker.options.get("ssl_ca_certs")


@pytest.mark.parametrize("given", ["redis://a;redis://b", "redis://a/0;redis://b/1", ["redis://a", "redis://b:1/1"]])
def test_journal_stays_at_the_first_broker_address_with_a_note(given: Any) -> None:
    found = journal_target(Settings(), app(broker_url=given))
    assert found.url == "redis://a/0"
    assert found.note.startswith("the journal stays at the first of the broker's addresses (redis://a")


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ({"result_backend": "rediss://:hunter2@h/0"}, "ssl_cert_reqs"),
        (
            {"result_backend": "rediss://:hunter2@h/0", "redis_backend_use_ssl": True},
            "redis_backend_use_ssl must be a dictionary",
        ),
        (
            {"result_backend": "rediss://:hunter2@h/0", "redis_backend_use_ssl": "x"},
            "redis_backend_use_ssl must be a dict",
        ),
        ({"result_backend": "redis://:hunter2@h/x"}, "the number of a database"),
        ({"result_backend": "redis://:hunter2@h/0?ssl_ca_certs=/ca"}, "should use the scheme rediss://"),
        ({"result_backend": "redis://:hunter2@a/0;redis://:hunter2@b/1"}, "without addresses to fail over to"),
        ({"result_backend": "redis://:hunter2@h/0?credential_provider=no.such:thing"}, "no"),
        (
            {"result_backend": "redis+socket:///run/redis.sock", "redis_backend_use_ssl": TLS},
            "unix:// does not accept ssl_",
        ),
        ({"broker_url": "redis://:hunter2@h/x"}, "the number of a database"),
        ({"broker_url": "redis://:hunter/2@h/0"}, "a port"),
        ({"broker_url": "redis://:hunter2@h/0", "broker_use_ssl": {"ca_certs": "/ca"}}, "not ca_certs"),
        ({"broker_url": "rediss://:hunter2@h/0?ssl_cert_reqs=perhaps"}, "perhaps"),
        ({"broker_url": "rediss://:hunter2@h/0", "broker_use_ssl": True}, "broker_use_ssl must be a dictionary"),
    ],
)
def test_what_celery_cannot_read_is_said_in_one_line(conf: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingError) as error:
        journal_target(Settings(), app(**conf))
    told = str(error.value)
    assert why in told.partition("is not accepted: ")[2]
    assert told.startswith(next(iter(conf)))
    assert "\n" not in told
    assert "hunter" not in told


def test_a_scheme_is_the_same_in_capitals_as_it_is_to_celery() -> None:
    found = broker_target(app(broker_url="REDIS://h:1/2"))
    assert found is not None
    assert found.url == "redis://h:1/2"

"""Settings: each from its variable or its option, and a wrong one named with what is accepted."""

from __future__ import annotations

import pytest

from watcher.core.errors import SettingError
from watcher.core.settings import SETTINGS, Settings, masked


def test_the_table_names_every_setting_with_its_default() -> None:
    plain = Settings()
    assert {entry.field for entry in SETTINGS} == set(Settings.__dataclass_fields__)
    for entry in SETTINGS:
        assert getattr(plain, entry.field) == entry.default, entry.field


def test_option_overrides_its_variable_and_empty_counts_as_unset() -> None:
    environ = {"WATCHER_PORT": "7", "WATCHER_HISTORY": "2000", "WATCHER_NAMESPACE": " "}
    found = Settings.load(environ, {"port": "8", "history": None})
    assert (found.port, found.history, found.namespace) == (8, 2000, "watcher")


def test_names_are_split_at_spaces_and_commas() -> None:
    assert Settings.load({"WATCHER_SUBMIT": "a.*, b  c"}).submit == ("a.*", "b", "c")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WATCHER_PORT", "70000"),
        ("WATCHER_PORT", "http"),
        ("WATCHER_READ_ONLY", "maybe"),
        ("WATCHER_REDIS_URL", "sentinel://h"),
        ("WATCHER_REDIS_URL", "localhost:6379"),
        ("WATCHER_NAMESPACE", "a b"),
        ("WATCHER_HISTORY", "10"),
        ("WATCHER_ROOT_PATH", "/a?b"),
        ("WATCHER_HOST", "a b"),
        ("WATCHER_TRUSTED_PROXIES", "proxy.example"),
        ("WATCHER_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("WATCHER_TRUSTED_PROXIES", "127.0.0.1 ::/0"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(variable: str, value: str) -> None:
    with pytest.raises(SettingError) as error:
        Settings.load({variable: value})
    assert str(error.value).startswith(f"{variable}={value!r} is not accepted: ")
    assert "\n" not in str(error.value)


def test_proxies_are_addresses_and_networks() -> None:
    found = Settings.load({"WATCHER_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8 ::1"}).trusted_proxies
    assert [str(network) for network in found] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


def test_a_secret_that_is_too_short_is_not_shown() -> None:
    with pytest.raises(SettingError, match="at least 32 bytes") as error:
        Settings.load({"WATCHER_SECRET": "hunter2"})
    assert "hunter2" not in str(error.value)


def test_neither_is_a_password_in_a_url_nor_the_secret_in_a_repr() -> None:
    with pytest.raises(SettingError) as error:
        Settings.load({"WATCHER_REDIS_URL": "sentinel://:hunter2@h"})
    assert "hunter2" not in str(error.value)
    assert "x" * 32 not in repr(Settings(secret="x" * 32))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:hunter2@h:1/2?x=y", "redis://me:***@h:1/2?x=y"),
        ("redis://h/0", "redis://h/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://[::1", "redis://[::1"),
        ("unix://:hunter2@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=***&db=1"),
        ("rediss://h/0?ssl_password=hunter2", "rediss://h/0?ssl_password=***"),
        # Not written as they ought to be: what is refused is shown, too.
        ("redis://:hunt/er2@h/0", "redis://:***@h/0"),
        ("redis://:hunt@er2@h/0", "redis://:***@h/0"),
        ("redis://:hunt;er2@h/0", "redis://:***@h/0"),
        ("redis://:hunter2@a;redis://:hunter3@b/1", "redis://:***@a;redis://:***@b/1"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown

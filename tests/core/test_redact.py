"""What looks secret is masked, and what doesn't is left alone, as the very same object."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.core.redact import HIDDEN, Redactor

REDACTOR = Redactor()
SECRET = "hunter2"
BEGIN, END = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))


@pytest.mark.parametrize(
    "key",
    [
        "password", "PASSWORD", "db_password", "passwordHash", "apiKey", "api-key", "X-API-KEY", "api_key", "api key",
        "access_token", "refreshToken", "client_secret", "Authorization", "Set-Cookie", "credentials", "privateKey",
        "csrftoken", "aws.secret.access.key", "pwd", "tokens",
    ],
)  # fmt: skip
def test_keys_that_look_secret(key: str) -> None:
    assert REDACTOR.is_secret(key)
    assert SECRET not in REDACTOR.json(json.dumps({key: SECRET}).encode()).decode()
    assert SECRET not in REDACTOR.text(repr({key: SECRET}))
    assert SECRET not in REDACTOR.text(f"{key}={SECRET}")


@pytest.mark.parametrize("key", ["user", "key", "path", "author", "sort_key", "to_ken", "compass", "primary_key"])
def test_keys_that_do_not(key: str) -> None:
    assert not REDACTOR.is_secret(key)
    text = json.dumps({key: SECRET}).encode()
    assert REDACTOR.json(text) is text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"user": "ann", "password": SECRET}, {"user": "ann", "password": HIDDEN}),
        ([{"a": [{"token": SECRET}]}, 1], [{"a": [{"token": HIDDEN}]}, 1]),
        ({"credentials": {"user": "ann", "key": [SECRET]}}, {"credentials": HIDDEN}),
        ({"password": 1234, "pwd": 1.5}, {"password": HIDDEN, "pwd": HIDDEN}),
        ({"dsn": f"redis://:{SECRET}@h/0"}, {"dsn": "redis://:***@h/0"}),
        ({"raw": json.dumps({"password": SECRET})}, {"raw": '{"password": "***"}'}),
        (f"postgres://me:{SECRET}@h/db and x", "postgres://me:***@h/db and x"),
    ],
)
def test_values_are_masked_wherever_they_are(value: Any, shown: Any) -> None:
    assert json.loads(REDACTOR.json(json.dumps(value).encode())) == shown


@pytest.mark.parametrize(
    "value",
    [
        {"password": None, "token": "", "secret": False, "cookies": [], "credentials": {}},
        {"max_tokens": 512, "prompt_tokens": 7.5},
        ["a token", "no password here", "the secret is out", "https://example.com/x@y"],
        {"url": "http://h/a:b@c", "text": "12:30, a=b & c"},
        7, None, True, 1.5,
    ],
)  # fmt: skip
def test_what_is_no_secret_is_the_very_same_object(value: Any) -> None:
    text = json.dumps(value).encode()
    assert REDACTOR.json(text) is text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"login(user='ann', password='{SECRET}')", "login(user='ann', password='***')"),
        (f'{{"api_key": "{SECRET}", "b": 1}}', '{"api_key": "***", "b": 1}'),
        (rf'"{{\"token\": \"{SECRET}\", \"b\": 1}}"', r'"{\"token\": \"***\", \"b\": 1}"'),
        (f"token={SECRET}&next=/", "token=***&next=/"),
        (f"Authorization: Bearer {SECRET}.x.y", "Authorization: ***"),
        (f"Cookie: a={SECRET}; b={SECRET}\nHost: h", "Cookie: ***\nHost: h"),
        (f"{{'Authorization': 'Basic {SECRET}=='}}", "{'Authorization': '***'}"),
        (f"sent with bearer {SECRET}{SECRET}", "sent with bearer ***"),
        (f"Config(user='a', secret_key={SECRET!r}, n=1)", "Config(user='a', secret_key='***', n=1)"),
        (f"password=b'{SECRET}'", "password=b'***'"),
        (f"os.environ['DB_PASSWORD'] = '{SECRET}'", "os.environ['DB_PASSWORD'] = '***'"),
        (f'def f(password: str = "{SECRET}"):', 'def f(password: str = "***"):'),
        (f"if password == '{SECRET}':", "if password == '***':"),
        (f"{{'password': '{SECRET} with \\' quote", "{'password': '***"),  # cut off in the middle
        (f"redis://:{SECRET}@h:1/0 is away", "redis://:***@h:1/0 is away"),
        (f"amqp://me:{SECRET}@x@h//", "amqp://me:***@h//"),
        (f"git clone https://{SECRET}@h/r.git", "git clone https://***@h/r.git"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln is no good", "*** is no good"),
        (f"{BEGIN}\nMII\n{END}", f"{BEGIN}***{END}"),
        (f"{{'credentials': {{'a': ['{SECRET}'], 'b': 1}}, 'c': 2}}", "{'credentials': ***, 'c': 2}"),
        (f"{{'credentials': {{'a': ['{SECRET}", "{'credentials': ***"),
        ("tokens=[], cookies={}", "tokens=[], cookies={}"),
        ("password=None, token=True, max_tokens=512", "password=None, token=True, max_tokens=512"),
        ("KeyError: 'password'", "KeyError: 'password'"),
        ("wrong password", "wrong password"),
    ],
)  # fmt: skip
def test_texts_are_masked_as_well_as_can_be(text: str, shown: str) -> None:
    assert REDACTOR.text(text) == shown
    assert REDACTOR.text(shown) == shown
    if text == shown:
        assert REDACTOR.text(text) is text


def test_names_are_added_and_replaced() -> None:
    assert REDACTOR.also(["iban"]).is_secret("userIban")
    assert REDACTOR.also(["iban"]).is_secret("password")
    only = Redactor(["card.number"])
    assert only.is_secret("CARD_NUMBER")
    assert not only.is_secret("password")
    assert only.text(f"password={SECRET} redis://:{SECRET}@h") == f"password={SECRET} redis://:***@h"
    assert Redactor([]).text("password=x") == "password=x"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("token"), inner, max_size=3),
    max_leaves=12,
)


@given(json_like)
def test_whatever_comes_it_stays_json_and_is_masked_once(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")
    shown = REDACTOR.json(text)
    json.loads(shown)
    assert REDACTOR.json(shown) == shown


@given(st.text() | st.text("pasword=:\"'\\ {}[]@/tkenx"))
def test_a_text_is_masked_once(text: str) -> None:
    shown = REDACTOR.text(text)
    assert SECRET not in REDACTOR.text(f"{text} password='{SECRET}'") or '"' in text or "'" in text or "\\" in text
    assert isinstance(shown, str)


@pytest.mark.parametrize(
    "piece",
    ["password", "password=", "a", "://", "://a@", "eyJ", "token: ", '"', "\\", "password='", "bearer ", "password:a ",
     "-----BEGIN PRIVATE KEY-----", "password(", "password=a(", "password=a = ", "password %3D",
     "password '", 'password="""',
     "://a:b", "cookie: ", "token" + " " * 30, "\\'token\\'", "secret: a[", "secret: [",
     "secret: [1], ", "://a:", "://:1/", "http://a", "http://", "basic aaaaaaaa", "basic aaaaaaaa:", "eyJaaaaaa.",
     "-eyJaaaaaa",
     "eyJaaaaaa.aaaaaa.", "?sig=", "26", "26a", "%26",
     "&a-sig", "?" + "a" * 40, "key", "apikey", "sk-", "ghp" + "_" + "a" * 10,
     "gl" + "pat-", "_",
     "-", "AK" + "IA", "SG" + ".", "SG" + ".aaaaaaaaaaaaaaaa.", "hv" + "s.", "pypi" + "-", "xoxe.",
     "--password ", "--password", "-a ",
     "'--token', ", "('password', ", "['password', 'a'], ", "'password', ", "name: password ", "name='password', ",
     "value: a ", "'value': 'a', 'name': 'password', ", "<password>", "<password", "a.", "password_", "pass_",
     "passHash",
     "password: str = ", "password: Optional[", "password: a = ", "\\npassword=", "api key: ", "a " * 9 + "key: ",
     "...", "...'",
     ", ...", ")]}", "...', ...)", "Password", "aPassword", "auth_", "A", "1", "a_"],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    """Users' tasks are not held up by a text that was made to hold them up."""
    text = piece * (16_384 // len(piece))
    start = time.process_time()
    REDACTOR.text(text, cut=True, beheaded=True)
    REDACTOR.json(json.dumps({"a": text, "token": "a", "name": text, "value": text, text: 1}).encode())
    REDACTOR.plain([["password", text], "--password", text, [text, text], {"name": text, "value": text}])
    assert time.process_time() - start < 0.5


def test_what_lies_too_deep_is_hidden() -> None:
    deep: Any = {"user": SECRET, "token": SECRET}
    for _ in range(200):
        deep = [deep]
    assert SECRET not in REDACTOR.json(json.dumps(deep).encode()).decode()
    assert REDACTOR.json(b'{"token":' + b"[" * 200_000) == b'"***"'

"""The table of what is masked in docs/security.md, made of the rules; printed by ``python -m`` of this module."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from tests.support.fakes import SHAPES
from watcher.core.redact import Redactor
from watcher.core.redact.names import ABOUT, ANYWHERE, BEFORE, BEFORE_TOKEN, CARRIERS, ENDING, LAST
from watcher.core.redact.shapes import HIDDEN, VENDORS

__all__ = ["BEGIN", "END", "table"]

BEGIN: Final = "<!-- of the rules: python -m tests.support.redaction -->"
END: Final = "<!-- end of the rules -->"
_WIDTH: Final = 120
_REDACTOR: Final = Redactor()

#: Texts with a secret, here ``x…x``, as they are shown.
_EXAMPLES: Final = (
    "dbPassword=xxxx", "{'authToken': 'xxxx'}", "pwdHash: xxxx", "DB_PASS=xxxx", "auth='xxxx'",
    "[('X-Api-Key', 'xxxx')]", "{'name': 'API_KEY', 'value': 'xxxx'}",
    "Command '['mysql', '--password', 'xxxx']' returned non-zero exit status 1.",
    "mysql --password xxxx -h db", "Password=xxxx;Server=h", "Authorization: Basic xxxx",
    "redis://:xxxx@host/0", "https://ann@example.com:xx/x@x@host/", "password='xxxx and cut off",
    "https://host/key?X-Amz-Date=1&X-Amz-Signature=xxxx",
)  # fmt: skip
#: Those that are no secret.
_SHOWN: Final = (
    "secretary='Ann'", "tokenizer='bpe'", "tokens_used=512", "max_tokens=512", "password_reset_at='2026-01-02'",
    "cookie_policy='strict'", "next_page_token='x'", "auth_backend='ldap'", "pass_rate=0.9", "password=None",
    "public_key='x'", "invalid password xxxx", "mysql -p xxxx", "http://host:8080/a@b",
)  # fmt: skip


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _names() -> Iterator[str]:
    yield f"| letters anywhere in a word | {_listed(ANYWHERE)} |"
    yield f"| the end of a word, or words one after the other, joined or not | {_listed(ENDING)} |"
    yield f"| a word that ends the name, or has only these after it: {_listed(CARRIERS)} | {_listed(LAST)} |"


def _shapes() -> Iterator[str]:
    for name, text in (
        ("the password of a URL, up to its last `@`; the user too, where there is no password", "redis://me:…@host"),
        ("what comes after `Bearer`, and after `Basic` where it is a user and a password", "Bearer …"),
        ("JSON Web Tokens", "eyJ….eyJ….…"),
        ("private keys in PEM, those of PGP too", "-----BEGIN PGP PRIVATE KEY BLOCK-----…"),
        ("webhooks of Slack, as its documentation says", "hooks.slack.com/services/…"),
        ("signed URLs of AWS, Google, Azure, CloudFront and others alike", "?…signature=…, ?sig=…"),
    ):
        yield f"| {name} | `{text}` |"
    for vendor in VENDORS:
        yield f"| {vendor.name}: {vendor.source} | {_listed(f'{prefix}…' for prefix in vendor.prefixes)} |"


def _examples() -> Iterator[str]:
    for text in _EXAMPLES:
        shown = _REDACTOR.text(text)
        assert HIDDEN in shown
        assert "xx" not in shown
        yield f"| `{text}` | `{shown}` |"
    for text in _SHOWN:
        assert _REDACTOR.text(text) is text
        yield f"| `{text}` | the same |"


def table() -> str:
    """What stands between the two marks in the document."""
    assert all(_REDACTOR.text(fake.text) != fake.text for fake in SHAPES)
    about = _listed(sorted(ABOUT))
    before = f"{_listed(sorted(BEFORE))}; nor a token after {_listed(sorted(BEFORE_TOKEN))}"
    return "\n".join(
        (
            "| a name looks secret by | |", "| --- | --- |", *_names(), "",
            *textwrap.wrap(f"Not where one of these words comes later in it: {about}.", _WIDTH), "",
            *textwrap.wrap(f"Nor right after one of these: {before}.", _WIDTH), "",
            "| a shape | |", "| --- | --- |", *_shapes(), "",
            "| text | is shown as |", "| --- | --- |", *_examples(),
        )
    )  # fmt: skip


if __name__ == "__main__":
    print(f"{BEGIN}\n\n{table()}\n\n{END}")  # noqa: T201 - it is a command

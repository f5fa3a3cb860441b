"""What is secret by its shape is masked wherever it stands, and what only resembles it is not."""

from __future__ import annotations

import json

import pytest

from tests.support.fakes import SHAPES, Fake, filler
from watcher.core.redact import HIDDEN, Redactor, halves
from watcher.core.redact.shapes import VENDORS

REDACTOR = Redactor()
#: Of these many characters no run of a secret is to be seen.
SEEN = 6


def seen(secret: str, text: str) -> list[str]:
    """What of a secret is to be seen in a text."""
    return [part for at in range(len(secret) - SEEN + 1) if (part := secret[at : at + SEEN]) in text]


@pytest.mark.parametrize("fake", SHAPES, ids=lambda fake: fake.name)
def test_shapes_are_masked(fake: Fake) -> None:
    for text in (fake.text, f"tried {fake.text} twice", repr({"a": fake.text}), f"x={fake.text!r},"):
        assert not seen(fake.secret, REDACTOR.text(text))
        assert HIDDEN in REDACTOR.text(text)
        assert REDACTOR.text(REDACTOR.text(text)) == REDACTOR.text(text)
    for value in ({"a": fake.text}, [f"{fake.text} is no good"], {fake.text: 1}):
        shown = REDACTOR.json(json.dumps(value).encode()).decode()
        assert not seen(fake.secret, shown)
        assert fake.after in REDACTOR.text(fake.text)


def test_every_vendor_has_an_example() -> None:
    for vendor in VENDORS:
        for prefix in vendor.prefixes:
            if not any(fake.secret.startswith(prefix) for fake in SHAPES):
                key = prefix + filler(64, "abcdef0123456789") + "." + filler(64)
                assert REDACTOR.text(key).startswith(HIDDEN), prefix
        assert any(fake.secret.startswith(vendor.prefixes) for fake in SHAPES), vendor.name


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/x@y", "http://h/a:b@c", "https://example.com/@ann/post", "https://example.com:443/?q=a@b.c",
        "mailto:ann@example.com", "see https://example.com and ask ann@example.com", "Asia/Tokyo", "sk-SK", "SK-123",
        "pypi-attestations", "hf_hub_download", "npm_install", "basic functionality", "basic authentication failed",
        "sk-estimator-id-12", "ghp_short", "design=1&x=2", "?assigned=1", "2026-01-02T03:04:05.000006+00:00",
        "a3f0c9d4-1111-2222-3333-444455556666", f"sha256:{filler(64, '0123456789abcdef')}", "eyJust",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "Signature=x",
        "TASKS-0001", "AKIAtasks", "SG.tasks", "xoxo", "the bearer of this", "https://cdn.example/a.js?v=1.2",
    ],
)  # fmt: skip
def test_what_resembles_them_is_shown(text: str) -> None:
    assert REDACTOR.text(text) is text
    assert REDACTOR.text(f"x {text} y", cut=True) == f"x {text} y"


@pytest.mark.parametrize("fake", SHAPES, ids=lambda fake: fake.name)
@pytest.mark.parametrize("end", ["", "...", "...'", "...', ...)", "...'}, ...)", '..."]})'])
def test_what_is_open_at_the_end_of_a_text_that_was_cut_is_masked(fake: Fake, end: str) -> None:
    quote = end[3:4] if end[3:4] in ("'", '"') else ""
    for at in range(1, len(fake.secret), 7 if len(fake.secret) < 300 else 97):
        begun = f"({quote}see {fake.before}{fake.secret[:at]}{end}"
        shown = REDACTOR.text(begun, cut=True)
        assert not seen(fake.secret, shown), (begun, shown)


def test_what_is_shown_to_its_end_is_left_alone() -> None:
    for text in ("", "a", "see https://example.com/a/b", "('x', 'y...', ...)", "x" * 2000, "http://h:80/", "a:b"):
        assert halves(text) == text


@pytest.mark.parametrize("between", ["?", "&", "&amp;", r"\u0026", "%26"])
@pytest.mark.parametrize("name", ["sig", "Signature", "X-Amz-Signature", "x-oss-signature"])
def test_signatures_of_urls_however_they_are_escaped(between: str, name: str) -> None:
    text = f"https://a.example/b{between}{name}={filler(40)}&c=1"
    assert REDACTOR.text(text) == f"https://a.example/b{between}{name}=***&c=1"


def test_a_text_without_its_beginning_shows_no_end_of_a_key() -> None:
    (block,) = (fake for fake in SHAPES if fake.name == "RSA PRIVATE KEY")
    for at in range(0, len(block.secret), 31):
        shown = REDACTOR.text(f"{block.secret[at:]}{block.after}\nValueError: x", beheaded=True)
        assert not seen(block.secret, shown)
        assert shown.endswith("\nValueError: x")
    assert REDACTOR.text(f"{block.text}\nx", beheaded=True).endswith("\nx")

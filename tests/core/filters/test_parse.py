"""What a filter's text means, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from watcher.core.filters import (
    Absolute,
    Ago,
    Bound,
    Clock,
    Filter,
    Glob,
    Group,
    InvalidFilter,
    Kind,
    State,
    Text,
    Value,
    parse,
)


def _one(text: str) -> Group:
    (group,) = parse(text).groups
    return group


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("state:failed", Kind("failed")),
        ("state:Queued", Kind("queued")),
        ("state:revoked", State("REVOKED")),
        ("state:progress", State("PROGRESS")),
        ("state:downloading", State("downloading")),
        ('state:"running"', State("running", exact=True)),
        ('state:"FAILURE"', State("FAILURE")),
        ("name:mail.send", Glob(("mail.send",))),
        ("name:mail.*", Glob(("mail.", ""))),
        ("name:*", Glob(("", ""))),
        ("name:**a***b", Glob(("", "a", "b"))),
        ('name:"mail.*"', Glob(("mail.*",))),
        ('tag:"two words"*', Glob(("two words", ""))),
        ('tag:a" b"', Glob(("a b",))),
        ("tag:user:42", Glob(("user:42",))),
        ('tag:"a\\"b\\\\c\\d"', Glob(('a"b\\c\\d',))),
        ("tag:a\\b", Glob(("a\\b",))),
        ("tag:-x", Glob(("-x",))),
        ("tag:[a]?", Glob(("[a]?",))),
        ("queue:http://x", Glob(("http://x",))),
        ("since:2h", Ago(7_200_000_000)),
        ("since:1h30m", Ago(5_400_000_000)),
        ("since:0.5s", Ago(500_000)),
        ("since:7:05", Clock(7, 5)),
        ("until:03:10:09", Clock(3, 10, 9)),
        ("since:1970-01-02T00:00Z", Absolute(86_400_000_000)),
        ("since:1970-01-02T01:00+01:00", Absolute(86_400_000_000)),
        ("since:1764558000.25", Absolute(1_764_558_000_250_000)),
        ("runtime:>5s", Bound(">", 5_000_000)),
        ("waited:<=0.5ms", Bound("<=", 500)),
        ("runtime:>=1w", Bound(">=", 604_800_000_000)),
        ("word", Text("word")),
        ('"two words"', Text("two words")),
        ("http://x", Text("http://x")),
        ("12:30", Text("12:30")),
        ('"name:x"', Text("name:x")),
        ('a"b c"d', Text("ab cd")),
        ("a.b:c", Text("a.b:c")),
        ("*", Text("*")),
    ],
)
def test_a_term(text: str, value: Value) -> None:
    group = _one(text)
    assert group.alternatives == (value,)
    assert _one(f"-{text}") == Group(group.key, negated=True, alternatives=(value,))
    assert parse(parse(text).text) == parse(text)


def test_the_same_key_twice_is_any_of_them_and_negated_none() -> None:
    read = parse("state:failed -name:a name:b state:retry -name:c runtime:>1s runtime:<9s a b a")
    assert [(group.key, group.negated, len(group.alternatives)) for group in read.groups] == [
        ("state", False, 2),
        ("name", True, 2),
        ("name", False, 1),
        ("runtime", False, 1),
        ("runtime", False, 1),
        ("", False, 1),
        ("", False, 1),
    ]
    assert parse(" \u3000\t") == parse("") == Filter()


@pytest.mark.parametrize(
    ("text", "problem", "meant"),
    [
        ("state:faild", "there is no state faild", "state:failed"),
        ("-state:SUCESS", "no state SUCESS", "-state:SUCCESS"),
        ("state:RESTARTED", 'is written state:"RESTARTED"', "state:STARTED"),
        ("state:REV*", "without a star", None),
        ("foo:bar", "there is no key foo; keys are state, name", None),
        ("Name:x", "no key Name", "name:x"),
        ('-quue:"a b"', "no key quue", '-queue:"a b"'),
        ("root_id:x", "no key root_id", "root:x"),
        ("name:", "a value must follow, as in name:mail.send", None),
        ('tag:""', "a value must follow", None),
        ("-", 'a - alone is written "-"', None),
        ('""', "words to look for must follow", None),
        ('-""', "must follow", None),
        ('a "open', "has no end", None),
        ('tag:"x\\"', "has no end", None),
        ("since:2", "2 is no moment; accepted are 2h", "since:2h"),
        ("since:25:00", "no moment", None),
        ("since:2026-02-30", "no moment", None),
        ("until:1969-12-31T23:59Z", "no moment", None),
        ("since:yesterday", "no moment", None),
        ("since:40000d", "at most 36500d", None),
        ("since:0.0000001s", "whole number of microseconds", None),
        ("runtime:5s", "no bound of a duration; accepted are >", "runtime:>5s"),
        ("-runtime:>5", "no bound", "-runtime:>5s"),
        ("waited:=5s", "no bound", None),
        ("name:a*b*c*d*e*f*g*h*i*j*k*l", "may have 10 stars", None),
        ("x" * 4097, "at most 4,096 characters, this one has 4,097", None),
        ("a " * 101, "at most 100 terms", None),
        ("a\x00b", "U+0000", None),
        ("a\ud800", "U+D800", None),
        ('"\x1f"', "U+001F", None),
    ],
)
def test_a_wrong_term_is_named_with_what_was_meant(text: str, problem: str, meant: str | None) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(f"name:right {text}" if len(text) < 100 else text)
    assert problem in str(caught.value)
    assert caught.value.meant == meant
    if meant is not None:
        assert str(caught.value).startswith(f"'{text}': ")
        assert str(caught.value).endswith(f"; did you mean {meant}?")
        parse(meant)


def test_a_span_that_ends_before_it_begins_is_refused_where_the_time_is_known() -> None:
    parse("since:1h until:2h")
    with pytest.raises(InvalidFilter, match=r"'since:1h until:2h': this span ends before it begins"):
        parse("since:1h x until:2h", now=1e9)
    parse("since:22:00 until:03:10", now=1e9)

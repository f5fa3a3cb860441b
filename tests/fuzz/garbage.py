"""What nobody should send: bytes, texts and JSON, by a seeded dice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Dice: TypeAlias = random.Random

#: Texts that upset what handles them carelessly.
TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\r\nX: y", "\x1b[2J", "\u202eevil", "\u200d", "\ufeff", "\U0001f600", "é" * 300,
    "__proto__", "constructor", "../../etc/passwd", "%00", "%", "{}", "[]", "null", "task:", "task:x", "tasks", ":",
    "tag:*", "<img src=x onerror=alert(1)>", "'; DROP", "-1", "1e999", "9" * 400, "x" * 5000, "true", "nan",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30, 1e308, -1e308, 5e-324, 0.1,
)  # fmt: skip
_SCRAPS = (
    b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t",
    b":", b",", b'"', b"\\", b"{", b"}", b"[", b"]", b"\\ud800", b"\\u0000", b"1e999", b"-", b"0", b"9" * 400,
)  # fmt: skip


def text(dice: Dice) -> str:
    """A text that upsets, or one of any characters but surrogates."""
    if dice.random() < 0.7:
        return dice.choice(TEXTS)
    return "".join(chr(dice.choice((dice.randrange(128), dice.randrange(0xD800), dice.randrange(0xE000, 0x110000))))
                   for _ in range(dice.randrange(20)))  # fmt: skip


def value(dice: Dice, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = dice.randrange(8 if depth < 4 else 6)
    if kind < 2:
        return text(dice)
    if kind < 4:
        return dice.choice(NUMBERS)
    if kind < 6:
        return dice.choice((None, True, False))
    if kind == 6:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return {text(dice)[:50]: value(dice, depth + 1) for _ in range(dice.randrange(4))}


def nested(depth: int) -> bytes:
    """JSON that is nested so deeply."""
    return b"[" * depth + b"]" * depth


def mangled(dice: Dice, data: bytes) -> bytes:
    """``data`` with something cut, doubled, put in or changed, once or a few times."""
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + dice.choice((1, 1, 4, 50)))
        change: Callable[[], bytes] = dice.choice(
            (
                lambda at=at, to=to, data=data: data[:at] + data[to:],
                lambda at=at, to=to, data=data: data[:to] + data[at:],
                lambda at=at, data=data: data[:at] + dice.choice(_SCRAPS) + data[at:],
                lambda at=at, to=to, data=data: data[:at] + dice.randbytes(to - at) + data[to:],
                lambda at=at, data=data: data[:at],
            )
        )
        data = change()
    return data


def json_text(dice: Dice, good: Any) -> bytes:
    """``good`` as JSON, with a field of garbage, or not quite JSON, or far too much of it."""
    kind = dice.randrange(8)
    if kind < 3 and isinstance(good, dict):
        good = changed(dice, good)
    body = json.dumps(good, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind < 3:
        return body
    if kind == 3:
        return b'{"x":%s,%s' % (nested(dice.choice((100, 900, 5000, 20000))), body[1:])
    if kind == 4:
        return body.replace(b'"', b'"\\ud800', dice.randrange(1, 5))
    if kind == 5:
        return json.dumps(value(dice)).encode()
    if kind == 6:
        return body.decode("utf-8", "replace").encode("utf-16")
    return mangled(dice, body)


def changed(dice: Dice, good: dict[str, Any]) -> dict[str, Any]:
    """``good`` with a field missing, added or of another type, here or further in."""
    made = dict(good)
    key = dice.choice(sorted(made)) if made else "x"
    inner = made.get(key)
    kind = dice.randrange(4)
    if isinstance(inner, dict) and kind:
        made[key] = changed(dice, inner)
    elif kind == 0:
        made.pop(key, None)
    elif kind == 1:
        made[text(dice)] = value(dice)
    else:
        made[key] = value(dice)
    return made


def headers(dice: Dice, good: Sequence[bytes]) -> list[bytes]:
    """Header lines with some cut, doubled, huge, folded or otherwise wrong."""
    lines = list(good)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(lines)) if lines else 0
        line = lines[at] if lines else b"X: y"
        name, _, content = line.partition(b":")
        upset = text(dice).encode("utf-8", "surrogatepass")
        lines[at : at + 1] = dice.choice(
            (
                [],
                [line, line],
                [line, name + b": " + upset],
                [name + b": " + upset],
                [name + b":" + content + b"x" * dice.choice((100, 5000, 70_000))],
                [name + b" :" + content],
                [b" " + line],
                [name + b":", b" " + content],  # obs-fold (RFC 9112, 5.2)
                [name + b":" + content + b"\n\tfolded"],
                [line.replace(b":", b"")],
                [name + b"\0:" + content],
                [line, b"X-%d: y" % dice.randrange(9)] * dice.choice((1, 50, 300)),
                [mangled(dice, line)],
                [name.upper() + b":" + content.swapcase()],
            )
        )
    return lines

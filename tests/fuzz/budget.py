"""How long a part fuzzes, and what all randomness of a run comes from: what it takes to repeat one is printed."""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds for all parts together: the default is part of `make test`, half an hour is `make fuzz`.
SECONDS = float(os.environ.get("FUZZ_SECONDS") or 40)
LONG = SECONDS > 60
SEED = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(1_000_000))
#: Only this case of each part, to look at one that failed.
CASE = os.environ.get("FUZZ_CASE")
#: What each part gets of the time.
_SHARES = {
    "bytes": 0.1, "handshakes": 0.15, "commands": 0.25, "requests": 0.15, "redis": 0.25, "parsers": 0.1,
}  # fmt: skip


def seconds(part: str) -> float:
    """How long a part may take."""
    return SECONDS * _SHARES[part]


def cases(part: str) -> Iterator[tuple[int, random.Random]]:
    """Number and randomness of one case after the other, until the part's time is over; ten at least."""
    print(f"FUZZ_SEED={SEED}", file=sys.stderr)  # noqa: T201 - pytest shows it with a test that fails
    if CASE is not None:
        yield int(CASE), chance(part, int(CASE))
        return
    end, number = time.monotonic() + seconds(part), 0
    while number < 10 or time.monotonic() < end:
        yield number, chance(part, number)
        number += 1
    print(f"{part}: {number} cases", file=sys.stderr)  # noqa: T201 - pytest shows it with a test that fails


def chance(part: str, number: int) -> random.Random:
    """The randomness of one case, which depends on no other."""
    return random.Random(f"{SEED} {part} {number}")


@contextmanager
def told(part: str, number: int, data: object) -> Iterator[None]:
    """Whatever goes wrong in the block is told with what was sent, and how to send it again."""
    try:
        yield
    except Exception as error:
        again = f"FUZZ_SEED={SEED} FUZZ_CASE={number} pytest tests/fuzz -k {part}"
        raise AssertionError(f"{error}\n{again}\nsent: {shown(data)}") from error


def shown(data: object) -> str:
    """What was sent, short enough to read; the case's number gives all of it."""
    text = repr(data)
    return text if len(text) < 4000 else f"{text[:2000]} …{len(text) - 4000} characters… {text[-2000:]}"

"""How large a fault test is: the short form is part of `make test`, the long one runs by `make faults`."""

from __future__ import annotations

import os
import random
import secrets
import sys
from dataclasses import dataclass

import pytest

LONG = os.environ.get("FAULTS") == "long"
#: What all randomness of a run comes from; FAULTS_SEED repeats one.
SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(1_000_000))


@dataclass(frozen=True)
class Size:
    """Of one test.

    :param tasks: how many flow.
    :param seconds: over which they are sent, and the fault is repeated.
    :param times: how often the fault is injected.
    :param watchers: how many clients watch, on two relays.
    """

    tasks: int = 200
    seconds: float = 3.0
    times: int = 2
    watchers: int = 20

    @property
    def limit(self) -> float:
        """Seconds that the test may take in all."""
        return 60 + 6 * self.seconds


def sized(short: Size, long: Size) -> pytest.MarkDecorator:
    """Give a test its ``size``."""
    return pytest.mark.parametrize("size", [pytest.param(long, id="long") if LONG else pytest.param(short, id="short")])


def chance(name: str) -> random.Random:
    """The randomness of one test, by its name; what it takes to repeat it is printed."""
    print(f"FAULTS_SEED={SEED}", file=sys.stderr)  # noqa: T201 - pytest shows it with a test that fails
    return random.Random(f"{SEED} {name}")

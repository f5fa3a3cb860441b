"""The stage that the parts in one file share: starting a worker and a relay takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz.stage import Stage
from tests.fuzz.stage import stage as open_stage


@pytest.fixture(scope="module")
def _stage() -> Iterator[Stage]:
    with open_stage() as opened:
        yield opened


@pytest.fixture
def stage(_stage: Stage) -> Stage:
    """A real relay with a worker, and a good client that watches it."""
    _stage.sent.clear()
    _stage.memory = 0
    return _stage

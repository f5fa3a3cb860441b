"""Catalogues to test with, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from watcher.catalogue.database import url_of
from watcher.catalogue.store import SqlCatalogue

Open: TypeAlias = Callable[[], SqlCatalogue]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens the same catalogue again and again; all are closed at the end."""
    made: list[SqlCatalogue] = []

    def again() -> SqlCatalogue:
        made.append(SqlCatalogue(url_of(f"sqlite:///{tmp_path}/catalogue.db")))
        return made[-1]

    yield again
    for each in made:
        each.close()

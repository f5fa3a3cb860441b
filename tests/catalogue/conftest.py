"""Catalogues to test with, in SQLite and in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.postgres import binaries, database, postgres_server
from watcher.catalogue.database import url_of
from watcher.catalogue.store import SqlCatalogue

Open: TypeAlias = Callable[[], SqlCatalogue]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server, by the URL of one of its databases."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server: install one, or name its directory (POSTGRES=/path)")
    with postgres_server(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    return database(request.getfixturevalue("postgres"), f"catalogue-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Opens the same catalogue again and again; all are closed at the end."""
    made: list[SqlCatalogue] = []

    def again() -> SqlCatalogue:
        made.append(SqlCatalogue(url_of(url)))
        return made[-1]

    yield again
    for each in made:
        each.close()

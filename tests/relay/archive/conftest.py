"""The server for archives that relays share."""

from tests.catalogue.conftest import postgres

__all__ = ["postgres"]

"""Where processes of these tests find broker, result backend and journal."""

from tests.worker.conftest import env

__all__ = ["env"]

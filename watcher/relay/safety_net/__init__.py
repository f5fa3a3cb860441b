"""Appends what Celery's result backend knows and no event told."""

"""From Celery's messages, requests, values and stored results to the fields of an event."""

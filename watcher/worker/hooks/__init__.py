"""What Celery tells, and has to be made to tell, as events."""

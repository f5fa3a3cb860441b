"""The Celery app, as Celery's documentation has it for Django, and one line more."""

import os

from celery import Celery

import watcher

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
watcher.install(app)  # it reads the settings when there is something to publish, not before

import os

# For development. Your own project has these already.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "not for production")
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
ASGI_APPLICATION = "shop.asgi.application"
INSTALLED_APPS = ["reports"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
TIME_ZONE = "UTC"

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
CELERY_RESULT_BACKEND = os.environ.get("CELERY_RESULT_BACKEND", "redis://127.0.0.1:6379/1")
CELERY_TASK_TRACK_STARTED = True
CELERY_BEAT_SCHEDULE = {"tidy-up": {"task": "reports.tasks.tidy_up", "schedule": 3.0}}  # seconds
# Where the journal is, for workers, this site and relays alike. Without it: the result backend, if that is a Redis.
CELERY_WATCHER_REDIS_URL = os.environ.get("JOURNAL_URL", "redis://127.0.0.1:6379/2")

# For the page: where browsers find the relay. With WATCHER_SECRET in the environment of relay and site, the view signs
# tokens for it.
WATCHER_RELAY = os.environ.get("RELAY", "http://127.0.0.1:5556")

# One image for worker and relay. `docker compose up` runs it; see docker-compose.yml and docs/operating.md.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY watcher watcher
COPY web web
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --disable-pip-version-check '.[crypto]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin watcher
COPY --from=build /venv /venv
# The app that comes with the project; another image would bring its own here.
WORKDIR /app
COPY tasks tasks
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 5556
# Without WATCHER_SECRET it refuses to start: 0.0.0.0 is reached by others.
CMD ["watcher", "serve", "-A", "tasks", "--host", "0.0.0.0"]

# One image for worker and relay. `docker compose up` runs it; see docker-compose.yml and docs/operating.md.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Versions and hashes are those of requirements/ ('make lock'); nothing else is taken from the network.
COPY requirements requirements
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements/build.txt \
 && python -m venv /venv && /venv/bin/pip install --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY scripts/long_description.py scripts/
COPY watcher watcher
COPY web web
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /venv/bin/pip install --no-deps --no-index /wheel/*.whl

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

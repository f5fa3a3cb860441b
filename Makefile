# celery-watcher: `make run` and `make test` work in a fresh clone, with python3 >= 3.11 and make.
# Kept to what GNU make 3.81 (macOS) and a POSIX shell know.

PYTHON ?= python3
APP ?= tasks
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Where it is set, as in images of containers, each of the many processes that tests start would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run dev test faults fuzz celery-suite soak bench lint format module lock newest audit docs wheel clean

help:
	@echo "make run      worker, relay and page for the app in tasks/; prints the address  (APP=proj ARGS='--port 8000')"
	@echo "make dev      the same, started again whenever watcher/ or tasks/ change; keeps its data in data/"
	@echo "make test     everything that must hold: lint, types, tests, a real browser      (ARGS='-k name')"
	@echo "make faults   the fault tests in their long form, half an hour at most  (FAULTS_SEED=n repeats a run)"
	@echo "make fuzz     half an hour of what nobody should send, on the port and in Redis  (FUZZ_SECONDS=60 FUZZ_SEED=n)"
	@echo "make celery-suite   Celery's own integration tests, with the plugin and without, a quarter of an hour  (ARGS='-k chord')"
	@echo "make newest   the tests with the newest releases, pre-releases too, instead of the locked ones  (ARGS='tests/worker')"
	@echo "make soak     half an hour at 200 tasks a second: relay, worker and page stay as large as they are  (SOAK_SECONDS=300)"
	@echo "make bench    speed, side by side with what else there is  (ARGS='w1 w2 --peers celery-watcher,nchan --rounds 3')"
	@echo "make lint     ruff, mypy, imports         make format   put the code into shape"
	@echo "make module   make web/watcher.js of web/embed/, after a change to it"
	@echo "make lock     lock the newest versions that pyproject.toml allows     make audit    known holes in locked versions"
	@echo "make docs     the documentation as a site, into build/docs"
	@echo "make wheel    build the wheel into dist/  make clean    remove what make made"

# A broken symlink counts as missing too: the interpreter was upgraded away, and the environment is made anew.
$(BIN)/python:
	@sh scripts/venv.sh $(VENV) $(PYTHON)

# Installed once, and again when pyproject.toml has changed since.
$(VENV)/.installed-run: pyproject.toml $(BIN)/python
	@echo "installing celery-watcher into $(VENV) …" >&2
	@$(PIP_INSTALL) -e '.[embedded]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements/dev.txt $(BIN)/python
	@echo "installing celery-watcher and what its tests need into $(VENV) …" >&2
	@sh scripts/install.sh $(BIN)/python
	@touch $@ $(VENV)/.installed-run

run: $(VENV)/.installed-run
	@$(BIN)/watcher up -A $(APP) $(ARGS)

dev: $(VENV)/.installed-dev
	@$(BIN)/watchfiles --sigint-timeout 12 "$(BIN)/watcher up -A $(APP) --data data $(ARGS)" watcher tasks

# What pytest's processes have in common, the tests' bytecode and a browser, is made while one processor does the lint.
test: $(VENV)/.installed-dev
	@{ $(BIN)/python -m pytest --collect-only -qq; $(BIN)/python -m tests.support.chromium shell; } >/dev/null 2>&1 & \
	$(MAKE) --no-print-directory lint && wait
	@CHROME="$$($(BIN)/python -m tests.support.chromium)" && export CHROME && $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(VENV)/.installed-dev
	@FAULTS=long $(BIN)/python -m pytest --session-timeout=1800 tests/faults tests/lives tests/end_to_end/test_stress.py $(ARGS)

# The extra is empty where there is no wheel of atheris.
fuzz: $(VENV)/.installed-dev
	@$(PIP_INSTALL) -e '.[fuzz]'
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-1800} $(BIN)/python -m pytest tests/fuzz $(ARGS)

# Of Celery's sdist, which pip downloads, and in an environment of its own, both below .venv.
celery-suite: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.celery_suite $(ARGS)

soak: $(VENV)/.installed-dev
	@CHROME="$$($(BIN)/python -m tests.support.chromium)" && export CHROME && $(BIN)/python -m bench.soak $(ARGS)

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

module: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.support.bundle

lock: $(BIN)/python
	@sh scripts/lock.sh $(BIN)/python

# In an environment of its own, below .venv: what is locked stays installed as it is.
newest: $(BIN)/python
	@sh scripts/newest.sh $(BIN)/python $(VENV)/newest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# In an environment of its own, below .venv: what pip-audit brings must not take the place of what is locked.
audit: $(BIN)/python
	@test -x $(VENV)/audit/bin/python || $(BIN)/python -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	@sh scripts/audit.sh $(VENV)/audit/bin/pip-audit $(ARGS)

# In an environment of its own, too. A link that leads nowhere ends it.
docs: $(BIN)/python
	@sh scripts/docs.sh $(BIN)/python $(VENV)/docs

wheel: $(VENV)/.installed-run
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) bench/.cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

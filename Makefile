# Everything that the project can do, by name. Extra arguments: ARGS="…".
# PYTHON chooses the interpreter of the virtual environment.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
GUEST   = .venv-guest-$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z-]+:.*## /{print $$1}' $(MAKEFILE_LIST))

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## a .venv with everything that a developer needs

$(VENV)/.installed: pyproject.toml deploy/install.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh deploy/install.sh
	@touch $@

servers: ## the servers that tests need: Debian packages, nothing started
	@sh deploy/install-servers.sh

check: install ## format, lint, types, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Three at a time on two cores, for many only wait; a module is never shared out, nor what its tests share: see
# tests/README.md. In the order that tests/selection.py gives them.
PYTEST := $(BIN)/python -m pytest --dist loadscope --no-loadscope-reorder

test: install servers ## the tests, in random order (ARGS="-k name" to choose, ARGS="-n 0" one at a time)
	$(PYTEST) -n 3 $(ARGS)

test-unit: install ## those that start no processes, properties with few examples: a minute
	$(PYTEST) -n 2 -m "not processes and not long" --hypothesis-profile=quick $(ARGS)

demo: install ## a real Celery worker with jobs that hang; --once prints the table and ends
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lastspan demo $(ARGS)

stack: install servers ## from a hanging job to a page: Prometheus, Alertmanager, lastspan, the demo, without Docker
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m lastspan.examples.stack $(ARGS)

bench: install ## the benchmarks (ARGS="span --json" to choose one)
	$(BIN)/python -m bench $(ARGS)

pythons: install ## long: the tests without servers on each Python, 3.10 … 3.15 (ARGS="3.14 --only evidence")
	$(BIN)/python -m tests.pythons $(ARGS)

compat: install ## long: Celery 5.3 … 5.7 × pools, each in a venv of its own
	$(BIN)/python -m pytest -m compat $(ARGS)

layouts: install ## long: a job that hangs, built by pex, PyInstaller, pip: whose line is told
	$(BIN)/python -m pytest -m layouts $(ARGS)

redelivery: install servers ## what a queue does when its job dies, on a real Redis and RabbitMQ: docs/redelivery.md
	@sh deploy/install-servers.sh rabbitmq
	$(BIN)/python -m tests.e2e.redelivery $(ARGS)

causes: install ## every labelled way to hang, with client instrumentation and without: the confusion table
	$(BIN)/python -m tests.e2e.causes $(ARGS)

soak: install ## 30 minutes of healthy load, of which nothing may be accused (ARGS="--minutes 10")
	$(BIN)/python -m tests.e2e.causes.soak $(ARGS)

kill: install ## kill -9 of the collector, 50 times under load: it forgets nothing, and makes nothing up
	$(BIN)/python -m pytest -m kill $(ARGS)

healthy: install servers $(GUEST)/.installed ## an hour of Celery workers with and without lastspan, on PYTHON: no crash (ARGS="--minutes 5")
	$(BIN)/python -m tests.e2e.guest.healthy --python $(GUEST)/bin/python $(ARGS)

stress: install $(GUEST)/.installed ## 10 minutes of looks at full hands on PYTHON, with its memory debugged (ARGS="--minutes 1")
	$(BIN)/python -m tests.e2e.guest.stress --python $(GUEST)/bin/python $(ARGS)

# The interpreter under test, with an environment of its own: .venv is made by whichever was first.
$(GUEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(GUEST)
	$(GUEST)/bin/python -m pip install -q --disable-pip-version-check "pip>=25.1"
	$(GUEST)/bin/python -m pip install -q --disable-pip-version-check -e '.[demo,instrumentations]' gevent redis
	@touch $@

simulate: install ## long: how well hangs are found, simulated, beside three baselines (ARGS="sensitivity")
	$(BIN)/python -m bench.detection $(or $(ARGS),long)

alerts: install ## rules, routes and templates in alerts/generated
	$(BIN)/lastspan alerts build --out alerts/generated $(ARGS)

bench-page: install servers ## how long from a stuck span to the page (Prometheus, Alertmanager)
	$(BIN)/python -m bench page $(ARGS)

docs: install ## the generated pages
	$(BIN)/python -m lastspan.semconv.tables > docs/semconv.md
	$(BIN)/python -m docs.generate.configuration > docs/configuration.md
	$(BIN)/python -m docs.generate.openapi > docs/openapi.json
	$(BIN)/lastspan demo --once --svg docs/jobs.svg
	$(BIN)/python -m docs.generate.frameworks > docs/frameworks.md

pictures: install servers ## docs/pictures: the pages in a real browser, as they show the demo
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.browser.pictures

dashboards: install ## dashboards/generated, from the descriptors
	$(BIN)/lastspan dashboards build --out dashboards/generated

clean: ## what the above left behind
	rm -rf $(VENV) .venv-* dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything is run from .venv, which `setup` makes and keeps as the locks say.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/sh

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev check test demo demo-compose up bench chaos migrate lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what the platform needs into .venv, as the locks say
	@$(PYTHON) deploy/setup.py

setup-dev:
	@$(PYTHON) deploy/setup.py --dev

check: setup-dev ## Format, lint, types, import contracts, unit tests, locks: seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_locks.py
	$(BIN)/python .ci/settings_document.py --check
	$(BIN)/python .ci/roles_document.py --check
	$(BIN)/python .ci/metrics_document.py --check
	$(BIN)/python .ci/scan_secrets.py
	$(BIN)/pytest tests/unit -q -n 2 --dist loadgroup

test: setup-dev ## Every test, on real servers (ARGS="-k name" chooses)
	$(BIN)/pytest tests -n 2 --dist loadgroup $(ARGS)

demo: setup ## Watch an agent survive the death of its worker
	@$(BIN)/python -m deploy.demo

demo-compose: setup ## The same on containers: gateway, Keycloak's tokens, docker compose (needs Docker)
	@$(BIN)/python -m deploy.demo --compose $(ARGS)

up: setup ## Run the whole platform in the foreground (ARGS="--port 9000")
	@$(BIN)/agent-runtime up $(ARGS)

bench: setup-dev ## Measure the platform against bare programs (BENCH_JSON=file keeps the figures)
	$(BIN)/python -m tests.bench $(if $(BENCH_JSON),--json $(BENCH_JSON))

chaos: setup-dev ## Kill processes at every step and look for what was lost
	$(BIN)/pytest tests/chaos -v $(ARGS)

migrate: setup ## Bring the database that DATABASE_MIGRATION_URL names to the newest schema
	$(BIN)/python -m migrations

COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet
ALL = $(COMPILE) --excludes .ci/lock-excludes.txt
EXTRAS = pyproject.toml --extra embedded --extra setup

lock: setup-dev ## Resolve the dependencies anew and write the locks
	$(ALL) $(EXTRAS) --output-file requirements.lock
	$(ALL) $(EXTRAS) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(ALL) deploy/compose/local-model/requirements.in --constraint requirements.lock \
		--output-file deploy/compose/local-model/requirements.lock
	for service in api worker; do $(COMPILE) pyproject.toml --excludes .ci/lock-excludes-$$service.txt \
		--constraint requirements.lock --output-file services/$$service/requirements.lock || exit 1; done
	$(BIN)/python .ci/check_locks.py --write

.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_MONTHS ?= 12
PYTEST := $(BIN)/python -m pytest -q

.PHONY: help setup demo drill test test-long test-docker test-all images sbom check lint bench bench-serving mutation simulation time-to-safe lock up down clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Make the virtual environment from the hash-checked lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	  f"Perennial needs Python 3.11 to 3.13, but `$(PYTHON)` is {v.major}.{v.minor}. Try: make setup PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names into $(VENV) (two minutes the first time) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: up ## Live through the flights of 2013 month by month (DEMO_MONTHS=4 for a short one)
	@$(BIN)/perennial backfill flight-delay --periods $(DEMO_MONTHS) --traffic 20
	@$(BIN)/perennial drill flight-delay

drill: up ## Only the last part of the demo: a faulty model let loose on a copy, and taken back by itself
	@$(BIN)/perennial drill flight-delay

test: setup ## Run the tests that need nothing but this checkout (under 10 minutes)
	@$(PYTEST) -m "not long and not docker" -n auto --maxprocesses 4 --dist loadfile

test-long: setup ## Run the tests that take minutes each
	@$(PYTEST) -m "long and not alone and not docker" -n 2 --dist loadfile --durations 15
	@$(PYTEST) -m "long and alone" --durations 5

test-all: test test-long test-docker ## All tests

images: setup ## Build the images by the steps of prefect.yaml, and print their digests
	@$(BIN)/python -m deployments.building

sbom: setup ## Write a bill of materials (CycloneDX) of each image that `make images` built to dist/
	@mkdir -p dist
	@for target in flows serving; do $(BIN)/python -m deployments.bills \
	  perennial-$$target:$$($(BIN)/python -c 'from perennial.model.revision import code_revision; print(code_revision())') \
	  $$target > dist/sbom-$$target.json && echo dist/sbom-$$target.json || exit 1; done

test-docker: setup ## Build the images and run the loop, a rollout and a rollback in containers (needs a Docker engine)
	@$(PYTEST) -m docker --durations 8

check: setup lint ## Lint, types and architecture
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

lint: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/hadolint $$(git ls-files '*Dockerfile')

bench: setup ## Compare the flows with a flat script, and measure 10 million rows
	@$(BIN)/python tests/benchmarks/bench.py

bench-serving: setup ## Compare the service with other servers, alternately (needs wrk; ARGS=--write keeps the table)
	@$(BIN)/python -m tests.benchmarks.serving.bench $(ARGS)

mutation: setup ## Break the gate in every way and see the tests notice
	@$(BIN)/python tests/benchmarks/mutation.py

simulation: setup ## Live through thousands of trials: false alarms and power, written to docs/rollout.md
	@$(BIN)/python tests/benchmarks/rollout_simulation.py

time-to-safe: setup ## Inject every fault under traffic (RUNS=5 times, ARGS=--add to those of before), written to docs/time-to-safe.md
	@$(BIN)/python -m tests.faults.serving.time_to_safe --runs $(or $(RUNS),5) $(ARGS)

lock: ## Compile the locks again (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock
	uv pip compile --group serving --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -o deployments/images/serving.lock
	uv pip compile pyproject.toml --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -o deployments/images/flows.lock

up: setup ## Start a Prefect server, an MLflow server and a worker, and apply the environment
	@$(BIN)/perennial up

down: ## Stop what `make up` and `make demo` started
	@test ! -x $(BIN)/perennial || $(BIN)/perennial down

clean: down ## Stop the services and remove the demo's data (.perennial), keep the environment
	rm -rf .perennial

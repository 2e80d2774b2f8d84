# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEV_STAMP := $(VENV)/installed-dev
# More than two cores: tests mostly wait for servers.
WORKERS ?= 3
FUZZ_SECONDS ?= 60
SEED ?= 1

.PHONY: help run demo test test-fast test-shaken lint types boundaries contracts check bench fuzz lock clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## Install what is needed and start the whole system (Ctrl-C stops it)
	@$(BIN)/python -m aircheck up

demo: $(DEV_STAMP) ## Record a broadcast of a local studio and check every file that comes out
	@$(BIN)/python -m tests.demo

test: $(DEV_STAMP) ## Install what the tests need and run all of them
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

test-fast: $(DEV_STAMP) ## The tests that need no servers
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not engines and not chaos" libs services deploy cli

test-shaken: $(DEV_STAMP) ## The tests on event loops that pause and shuffle at random, drawn from SEED (1): finds races
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -p tests.shaken --shake $(SEED)

fuzz: $(DEV_STAMP) ## Fuzz every parser, chat codec and the repair chain, FUZZ_SECONDS each (60; Linux on x86-64)
	@$(BIN)/python -m tests.fuzz -max_total_time=$(FUZZ_SECONDS)
	@for name in $(CHAT_CODECS); do echo "== $$name"; $(BIN)/python -m services.danmu.fuzz.$$name -max_total_time=$(FUZZ_SECONDS) || exit 1; done

lint: $(DEV_STAMP) ## Style and formatting
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

types: $(DEV_STAMP) ## Strict types of libs, services, deploy and cli
	@$(BIN)/python -m mypy libs/contracts/contracts libs/chassis/chassis libs/media/media services deploy cli

boundaries: $(DEV_STAMP) ## Who may import whom
	@$(BIN)/lint-imports --no-cache

contracts: $(DEV_STAMP) ## Write schemas, AsyncAPI and the event reference again
	@$(BIN)/python -m contracts generate

check: lint types boundaries $(DEV_STAMP) ## Everything CI checks besides the tests
	@$(BIN)/python -m contracts check

bench: $(DEV_STAMP) ## Measure against peers in the same run and write docs/benchmarks.md
	@$(BIN)/python -m bench --write

lock: $(DEV_STAMP) ## Resolve the dependencies again
	@$(BIN)/python -m uv pip compile pyproject.toml --extra embedded --extra build $(LOCK_OPTIONS) -o requirements.lock
	@$(BIN)/python -m uv pip compile pyproject.toml --extra dev -c requirements.lock $(LOCK_OPTIONS) -o requirements-dev.lock

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

CHAT_CODECS = $(filter-out __init__ harness,$(notdir $(basename $(wildcard services/danmu/fuzz/*.py))))

LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Aircheck needs Python 3.11 or newer, this is %d.%d: set PYTHON=/path/to/a/newer/python3" % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python lacks venv: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(STAMP): requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies and the test tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(STAMP)

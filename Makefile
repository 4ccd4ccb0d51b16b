# The commands of the project: the same for a person and for CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
# Test processes side by side. A study's processes use about one core while they start and train.
WORKERS ?= 2
MUTANTS_ARGS ?=

.PHONY: run test lint mutants bench docs setup clean

run: setup ## set up, then run the quickstart study
	$(BIN)/noise-study run --preset quickstart

test: lint ## set up, then run all checks and tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

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
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,dashboard,datasets,lightning,timm,transformers]"
	touch $(STAMP)

clean: ## remove the environment
	rm -rf $(VENV)
